#include "vrs-server/log/change.h"

#include <stdio.h>
#include <string.h>

enum { VALUE_BYTES = 150 };

/* At most VALUE_BYTES, in whole characters. */
static int cut(const char *s) {
    size_t n = strlen(s);
    if (n > VALUE_BYTES) {
        n = VALUE_BYTES;
        while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80)
            n--;
    }
    return (int)n;
}

static const char *shown(const char *s) {
    return s[0] != '\0' ? s : "（空）";
}

void change_note(struct change *c, const char *field, const char *before, const char *after) {
    if (strcmp(before, after) == 0 || c->len >= sizeof c->text - 1)
        return;
    before = shown(before);
    after = shown(after);
    int n = snprintf(c->text + c->len, sizeof c->text - c->len, "%s: %.*s → %.*s; ", field,
                     cut(before), before, cut(after), after);
    c->len += n > 0 ? (size_t)n : 0;
    if (c->len >= sizeof c->text)
        c->len = sizeof c->text - 1;
}

const char *change_text(struct change *c, const char *reason) {
    if (reason != NULL && c->len < sizeof c->text - 1)
        (void)snprintf(c->text + c->len, sizeof c->text - c->len, "理由: %s", reason);
    return c->text;
}
