/* The registered terminals in memory, by serial: what the gates ask at every request (C20, C31).
 * Filled from the registry at the start; whoever changes a terminal there puts it here once the
 * change is committed and before anybody hears of it, so that it holds from the next request on, of
 * live connections too.  Loop thread, but for terminal_list_used. */
#ifndef VRS_SERVER_TERMINALS_TERMINAL_LIST_H
#define VRS_SERVER_TERMINALS_TERMINAL_LIST_H

#include "vrs-server/server.h"
#include "vrs-server/terminals/terminal.h"

struct terminal_list;
struct tls_peer;

struct listed_terminal {
    struct record_id id;
    enum terminal_state state;
    char serial[48]; /* plain */
    char name[64];
    char kind[16];
    char municipality[7];
    right_mask rights;
    int64_t works_until_ms; /* 0: until its certificate ends */
    int64_t last_used_ms;   /* 0: not known */
};

/* Reads the registry in the background: not ready until it has. */
VRS_CHECK enum vrs_err terminal_list_open(struct server *s, struct terminal_list **out);
void terminal_list_close(struct terminal_list **l);
bool terminal_list_ready(const struct terminal_list *l);
/* Everything again, after the registry was restored. */
void terminal_list_reload(struct terminal_list *l);
/* New or changed. */
VRS_CHECK enum vrs_err terminal_list_put(struct terminal_list *l, const struct terminal *t);
/* Every certificate of t's device is refused from now on (terminal_revoke). */
void terminal_list_revoke(struct terminal_list *l, const struct terminal *t);
/* NULL: no such serial.  Borrowed until the list changes. */
const struct listed_terminal *terminal_list_find(const struct terminal_list *l, const char *serial);
/* A certificate that passed the handshake of LG-WAN: VRS_OK and *out (borrowed), or
 *   ERR_BUSY              the registry has not been read yet: nobody passes
 *   ERR_FORBIDDEN         of another kind than LG-WAN knows
 *   ERR_TERMINAL_REVOKED  expired, revoked, or replaced for more than its days of grace
 *   ERR_UNKNOWN_SYSTEM    of the right authority, but not registered, or registered as another */
VRS_CHECK enum vrs_err terminal_list_check(struct terminal_list *l, const struct tls_peer *peer,
                                           const struct listed_terminal **out);
/* Seen at work; any thread.  Kept in memory and written to the registry once a minute. */
void terminal_list_used(struct terminal_list *l, const char *name);
int64_t terminal_list_last_used(struct terminal_list *l, const char *name); /* 0 not known */
void terminal_list_sweep(struct terminal_list *l);                          /* every minute */

#endif
