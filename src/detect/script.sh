# Asks each buildpack at once, and gives all answers as one tar.
# Usage: sh -c SCRIPT sh SECONDS BUILD_DIR BUILDPACK...
limit=$1 build_dir=$2
shift 2
answers=$(mktemp -d) || exit 70
number=0
for buildpack; do
  {
    timeout -k 1 "$limit" "$buildpack/bin/detect" "$build_dir" >"$answers/$number.out" 2>"$answers/$number.err"
    echo "$?" >"$answers/$number.code"
  } &
  number=$((number + 1))
done
wait
tar -C "$answers" -cf - .
rm -rf "$answers"
