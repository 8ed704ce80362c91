/* A virus scanner looks at every imported file (C144): clamd's INSTREAM over a unix socket.
 *
 * import_scanner_socket names the socket; without it nothing is scanned.  With it a file is checked
 * only when the scanner answers that it is clean: a scanner that is away, slow or does not
 * understand refuses the import, a finding refuses the file.  Blocking, on a worker, with a deadline
 * for each call. */
#ifndef VRS_SERVER_RESIDENTS_SCANNER_H
#define VRS_SERVER_RESIDENTS_SCANNER_H

#include <stddef.h>

#include "lib/err.h"

struct scanner;

/* `socket_path` "": *out is NULL and the calls below find everything clean.  ERR_SCANNER_AWAY. */
VRS_CHECK enum vrs_err scanner_open(const char *socket_path, struct scanner **out);
VRS_CHECK enum vrs_err scanner_feed(struct scanner *s, const void *p, size_t n);
/* Ends the file. ERR_F011 with the finding's name (of the scanner's list), ERR_SCANNER_AWAY. */
VRS_CHECK enum vrs_err scanner_verdict(struct scanner *s, char finding[64]);
void scanner_close(struct scanner **s);

#endif
