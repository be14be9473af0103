# SPDX-License-Identifier: Apache-2.0
# team.sh - for tests of processes that work together, which set vlpc and source it.  Skips
# where the build found no MPI.
libraries=$(dirname "$vlpc")/../lib
if ! command -v mpirun >/dev/null || [ ! -e "$libraries/libvlpc_mpi.so" ]; then
  echo "skipped: Open MPI (libopenmpi-dev, openmpi-bin) is not here"
  exit 77
fi
# A sanitizer does not look for libraries where the program says; Open MPI leaves memory.
export LD_LIBRARY_PATH="$libraries" ASAN_OPTIONS=detect_leaks=0

# together N ARGUMENT...: the command in N processes.  In the background, `$launch N "$vlpc"` is
# the launcher itself.  Open MPI 4 may miss that a process ended well, once in a thousand times
# (open-mpi/ompi issues 7833 and 9389): a test may meet that once.
launch="mpirun --allow-run-as-root --oversubscribe -n"
missed=0
together() {
  n=$1 ended=0
  shift
  $launch "$n" "$vlpc" "$@" 2>launched.log || ended=$?
  cat launched.log >&2
  if grep -q 'exiting improperly' launched.log; then
    missed=$((missed + 1))
    [ $missed -gt 1 ] || ended=0
  fi
  return $ended
}
