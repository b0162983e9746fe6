# Sizes and places: functions of at most 80 lines, files of at most 900, nothing open in the code, no top-level
# entry beyond the layout, a page in every folder.
git rev-parse --git-dir >/dev/null 2>&1 || { echo "skipped: not a git tree"; exit 77; }
status=0
report() {
	[ -z "$2" ] && return
	printf '%s:\n%s\n' "$1" "$2"
	status=1
}

sources=$(git ls-files '*.c' '*.h' ':!tests')
report 'files over 900 lines' "$(wc -l $sources | awk '$2 != "total" && $1 > 900')"
report 'functions over 80 lines' "$(awk '
	FNR == 1 { open = 0 }
	/^\{/ { open = FNR }
	/^\}/ { if (open && FNR - open > 80) print FILENAME ":" open " (" FNR - open " lines)"; open = 0 }
	' $sources)"
# Written so that this file does not match itself.
report 'left open' "$(git grep -nwE 'TO''DO|FIX''ME|XX''X|HA''CK|un''implemented' -- '*.c' '*.h' '*.sh')"

allowed=' CMakeLists.txt CMakePresets.json README.md LICENSE .clang-format .clang-tidy .gitignore .gitattributes
.ci gen ir targets templates out tests examples '
report 'top-level entries beyond the layout' "$(git ls-files | cut -d / -f 1 | sort -u |
	while read -r entry; do
		case " "$(echo $allowed)" " in *" $entry "*) ;; *) echo "$entry" ;; esac
	done)"
for page in README.md LICENSE {gen,ir,targets,templates,tests,out,examples}/README.md; do
	[ -f "$page" ] || report 'missing page' "$page"
done
exit $status
