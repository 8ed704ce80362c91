/* What a correction changed, for its entry in the log (C74): "lot: FF3620 → FF0001; …  理由: …".  It
 * stays readable to auditors, who see the log and not the records. */
#ifndef VRS_SERVER_LOG_CHANGE_H
#define VRS_SERVER_LOG_CHANGE_H

#include <stddef.h>

struct change {
    char text[1000];
    size_t len;
};

/* Adds a field whose value is another one now; a long value is cut. */
void change_note(struct change *c, const char *field, const char *before, const char *after);
/* Ends with the reason; the text for the entry. */
const char *change_text(struct change *c, const char *reason);

#endif
