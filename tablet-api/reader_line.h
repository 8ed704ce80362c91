/* The reader line: dedicated OCR terminals and scanners, one line a reading over TLS
 * (docs/reader-line.md).
 *
 *   accept → handshake (a certificate of the terminals' authority) → header → readings …
 *              each line: registered, not revoked, right dose.post → intake → inbox → its answer
 *
 * The same certificates, registry, intake, inbox and receipts as POST /v1/doses; nothing is known
 * here that is not also known there.  Everything is bounded: connections, those of one terminal
 * (the newest lives), a line, readings on their way, lines a minute, what is not taken by the peer,
 * idle time and age.  Loop thread. */
#ifndef TABLET_API_READER_LINE_H
#define TABLET_API_READER_LINE_H

#include "lib/err.h"

struct reader_line;
struct tablet;
struct tls_server;

/* Listens; `tls` is the terminals listener's. */
VRS_CHECK enum vrs_err reader_line_open(struct tablet *t, const struct tls_server *tls,
                                        struct reader_line **out, struct vrs_fault *fault);
/* No more connections; readings on their way still come back. */
void reader_line_stop(struct reader_line *r);
/* After the inbox is closed. */
void reader_line_close(struct reader_line **r);

#endif
