# fish completion for hop(1). The program itself knows what can follow.
function __hop_complete
    set -l line (commandline -opc) (commandline -ct)
    # What is completed is the value, and the flag before it stays.
    set -l flag (string match -r -- '^--[^=]+=' $line[-1])
    set -l value (string replace -r -- '^--[^=]+=' '' $line[-1])
    for candidate in ($line[1] complete -- $line[2..-1] 2>/dev/null)
        switch $candidate
            case ':files*'
                __fish_complete_path $value '' | string replace -r -- '^' "$flag"
            case ':dirs*'
                __fish_complete_directories $value '' | string replace -r -- '^' "$flag"
            case '*'
                printf '%s\n' "$flag$candidate"
        end
    end
end
complete -c hop -f -a '(__hop_complete)'
