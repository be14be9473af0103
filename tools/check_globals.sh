#!/bin/sh
# check_globals.sh LIBRARY.a…: no library has state outside the objects that it
# hands out: nothing writable in .data, .bss or thread-local sections.  What is
# written once behind a once flag is no state: X beside X_once, and *once itself.
set -eu
failed=0
for library in "$@"; do
  objdump -t "$library" | awk -v library="${library##*/}" '
    /:[ ]+file format/ { object = $1; sub(/:$/, "", object) }
    NF > 4 && $(NF - 3) == "O" && $(NF - 2) ~ /^\.(data|bss|tdata|tbss)/ &&
    $(NF - 2) !~ /^\.data\.rel\.ro/ { section[object " " $NF] = $(NF - 2) }
    END {
      for (key in section) {
        if (key ~ /once(\.[0-9]+)?$/ || (key "_once") in section) continue
        split(key, part, " ")
        printf "%s(%s): %s is mutable state in %s\n", library, part[1], part[2], section[key]
        faults++
      }
      exit faults > 0
    }' || failed=1
done
exit $failed
