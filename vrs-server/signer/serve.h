/* vrs-signer on its socket (lib/local.h).  All requests that are readable are answered in one go:
 * checked and signed, what is remembered is appended once, then the answers go out. */
#ifndef VRS_SERVER_SIGNER_SERVE_H
#define VRS_SERVER_SIGNER_SERVE_H

#include <sys/types.h>

#include "vrs-server/signer/heads.h"
#include "vrs-server/signer/keys.h"

struct signer_serve {
    uid_t peer_uid; /* vrs-server's */
    size_t max_connections;
    const char *facts;    /* key=value lines that STATUS begins with */
    const char *keys_dir; /* ca-<kind>.pem and .key are read when they are used */
    const struct log_keys *keys;
    struct heads *heads;
};

/* Until a signal.  Takes `listener`. */
VRS_CHECK enum vrs_err signer_serve(int listener, const struct signer_serve *o,
                                    struct vrs_fault *fault);

#endif
