/* `ocr-ingest enrol` and `ocr-ingest renew`: a certificate for this device.
 *
 *   enrol --public URL --ca FILE --code CODE|- --out DIR    a first one, by a one-time code
 *   renew --url URL --ca FILE --out DIR                     the next one, by the one in DIR
 *
 * DIR gets terminal.key (made once, 0600; it never leaves), terminal.pem and authority.pem.  Both
 * may be repeated after a lost answer: the same key gets the same certificate. */
#ifndef OCR_INGEST_ENROL_H
#define OCR_INGEST_ENROL_H

#include <stdbool.h>

bool enrol_named(const char *word); /* "enrol" or "renew" */
/* The words after the program's name; returns the exit status: 0 done, 1 refused or not reached,
 * 2 usage. */
int enrol_main(int argc, char **argv);

#endif
