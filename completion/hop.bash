# bash completion for hop(1). The program itself knows what can follow.
_hop() {
    local word rest
    COMPREPLY=()
    while IFS=$'\t' read -r word rest; do
        case $word in
            :files) compopt -o default 2>/dev/null ;;
            :dirs) compopt -o dirnames 2>/dev/null ;;
            *) COMPREPLY+=("$word") ;;
        esac
    done < <("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _hop hop
