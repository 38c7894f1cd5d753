#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs the fuzz targets of the tree, each for the time that is given, one after
# another. What is found is written to the package's testdata/fuzz: commit it
# with its repair.
#
# usage: fuzz.sh TIME [PATTERN]
set -eu

time=${1:?usage: fuzz.sh TIME [PATTERN]}
pattern=${2:-}
cd "$(dirname "$0")/../.."

# Lines of a package and a target in it.
list=$(git ls-files --cached --others --exclude-standard '*_test.go' | grep -v ^third_party/ |
	xargs grep -H '^func Fuzz' | sed -n 's,/[^/]*:func \(Fuzz[A-Za-z0-9_]*\)(.*, \1,p' | sort -u | grep -- "$pattern")

failed=
while read -r package target; do
	echo "== ./$package $target, $time"
	nice -n 10 go test -tags seccomp,runc_nocriu -run '^$' -fuzz "^$target\$" -fuzztime "$time" -parallel 1 "./$package" </dev/null ||
		failed="$failed $package.$target"
done <<END
$list
END
if [ -n "$failed" ]; then
	echo "failed:$failed" >&2
	exit 1
fi
