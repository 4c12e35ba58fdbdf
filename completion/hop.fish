# fish completion for hop(1). The program itself knows what can follow.
function __hop_complete
    set -l line (commandline -opc) (commandline -ct)
    $line[1] complete -- $line[2..-1] 2>/dev/null
end
complete -c hop -f -a '(__hop_complete | string match -v ":*")'
complete -c hop -n '__hop_complete | string match -q ":files*"' -F
complete -c hop -n '__hop_complete | string match -q ":dirs*"' -a '(__fish_complete_directories)'
