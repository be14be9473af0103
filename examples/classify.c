/* SPDX-License-Identifier: Apache-2.0 */
/* classify.c - which of some labels fits a photo, with the public API alone.
**
**   cc classify.c $(pkg-config --cflags --libs vlpc) -o classify
**   ./classify clip.vlpc photo.jpg "a cat" "a dog" */
#include <stdio.h>
#include <stdlib.h>

#include <vlpc/vlpc.h>

static int fail(const char *text) {
  fputs(text && *text ? text : "memory is out\n", stderr);
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: %s MODEL.vlpc PHOTO LABEL LABEL…\n", argv[0]);
    return 2;
  }
  const char *const *labels = (const char *const *)argv + 3;
  uint32_t n = (uint32_t)(argc - 3);
  vlpc_image photo = {.path = argv[2]};
  vlpc_artifact *artifact;
  vlpc_session *session;

  if (vlpc_artifact_open(argv[1], NULL, &artifact) != VLPC_OK)
    return fail(vlpc_artifact_error(artifact));
  if (vlpc_session_new(artifact, NULL, &session) != VLPC_OK)
    return fail(vlpc_session_error(session));

  float *probability = malloc(n * sizeof *probability);
  if (!probability) return fail(NULL);
  if (vlpc_set_labels(session, labels, n, "a photo of a {}.") != VLPC_OK ||
      vlpc_classify(session, &photo, 1, probability) != VLPC_OK)
    return fail(vlpc_session_error(session));
  for (uint32_t i = 0; i < n; i++) printf("%6.2f %%  %s\n", 100.0 * probability[i], labels[i]);

  free(probability);
  vlpc_session_free(session);
  vlpc_artifact_close(artifact);
  return 0;
}
