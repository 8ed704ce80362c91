/* What vrs-signer has signed: the last head of each municipality and epoch, in memory and in
 * STATE/heads (one line each: municipality epoch size root), so that two trees that contradict each
 * other never both get its signature.
 *
 * The file is appended once a round, before the answers; synced at most every second and at exit;
 * written anew, whole and synced, at start and when it has grown, with the line "whole" behind it.
 * A line that a crash cut off, or of which a power loss left zeros, is left out; behind "whole"
 * any that is none: what stood there was not synced.  Above it every line must be right. */
#ifndef VRS_SERVER_SIGNER_HEADS_H
#define VRS_SERVER_SIGNER_HEADS_H

#include "ocr-ingest/proof.h"

struct heads;
/* ERR_CORRUPT for a file that nobody here wrote so: somebody must look at it. */
VRS_CHECK enum vrs_err heads_open(const char *state_dir, struct heads **out,
                                  struct vrs_fault *fault);
void heads_close(struct heads **h); /* syncs */
/* Remembers municipality, epoch, size and root of `head`; ERR_TAMPERED with the reason in *why when
 * it contradicts what was signed: smaller, another root at the same size, an epoch left behind. */
VRS_CHECK enum vrs_err heads_take(struct heads *h, const struct log_signed_head *head,
                                  const char **why);
/* The last head that was taken for a municipality; false: none. */
bool heads_last(const struct heads *h, const char *municipality, struct log_signed_head *out);
/* Appends what was taken since; what could not be written is written with the next round. */
VRS_CHECK enum vrs_err heads_write(struct heads *h);
/* Syncs when it is time; answers the milliseconds until it will be, -1 when nothing waits. */
int heads_idle(struct heads *h);
size_t heads_count(const struct heads *h); /* municipalities */

#endif
