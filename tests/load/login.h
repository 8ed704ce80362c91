/* The session that all connections of a run share; opened again when the server has lost it. */
#ifndef TESTS_LOAD_LOGIN_H
#define TESTS_LOAD_LOGIN_H

#include "lib/err.h"
#include "tests/load/conn.h"
#include "tests/load/options.h"

struct login;
VRS_CHECK enum vrs_err login_open(struct event_base *base, const struct conn_target *t,
                                  const struct load_options *o, struct login **out,
                                  struct vrs_fault *fault);
void login_close(struct login **l);
/* "Authorization: …\r\n", "" for a client that needs none, NULL: not yet, ask again later. */
const char *login_header(struct login *l);
/* The server does not know the session: a new one is opened (once for all that say so). */
void login_lost(struct login *l, const char *header);
/* The password is wrong or the account does not exist: it will never come. */
bool login_hopeless(const struct login *l);

#endif
