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

# together N ARGUMENT...: the command in N processes.  In the background, $! is a shell above
# the launcher; `$launch N "$vlpc"` is the launcher itself.
launch="mpirun --allow-run-as-root --oversubscribe -n"
together() {
  n=$1
  shift
  $launch "$n" "$vlpc" "$@"
}
