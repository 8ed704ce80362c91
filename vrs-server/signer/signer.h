/* vrs-signer: the one process that can sign.  Own program, uid, keys and folder, no network; a unix
 * socket whose peer is vrs-server (by credentials).  Messages: u32be length, then lib/wire fields,
 * as vrs-number's; an unexpected one ends the connection.
 *
 *   HEAD       municipality, epoch, size, root → signed head (ocr-ingest/proof.h).
 *              It remembers the last head of each municipality and epoch and refuses a smaller
 *              size, or another root at the same size: ERR_TAMPERED, and an event that alarms.
 *              An epoch that was left behind is never signed again.
 *   STATEMENT  kind, text → signature over kind "\n" text; kinds are a closed list:
 *              "erasure" (消去証明書), "export" (操作記録の書き出し), "migration"
 *              (移行するデータの目録), "coupon-filter" (発行済み接種券番号の一覧)
 *   CERT       kind (tablet | reader | system | lgwan), name, municipality, days, PKCS#10 → PEM.
 *              The subject is what vrs-server says, never what the request says; the request gives
 *              only its key and the proof that it has the private half (P-256 or better).
 *   KEYS       → public keys (key_id, Ed25519), the newest first: old ones stay for checking
 *   STATUS     → key=value lines
 *   LAST       municipality → the last head that it signed, signed again; ERR_NOT_FOUND.  A restore
 *              onto an empty machine learns from it what the log had come to.
 *
 *   STATE/heads               last head of each municipality; appended, compacted at start
 *   KEYS/log-<n>.key          Ed25519, hex, 0600; the highest n signs.  KEYS/log-<n>.pub 0644
 *   KEYS/ca-<kind>.{pem,key}  authorities of terminals */
#ifndef VRS_SERVER_SIGNER_SIGNER_H
#define VRS_SERVER_SIGNER_SIGNER_H

#include "lib/buffer.h"
#include "lib/err.h"
#include "ocr-ingest/proof.h"

/* One client belongs to one thread (each pool worker has one): blocking, with a
 * deadline a call, reconnects.  Opening does not connect.  ERR_SIGNER_AWAY when it does not answer.
 */
struct signer_client;
VRS_CHECK enum vrs_err signer_client_open(const char *socket_path, int64_t deadline_ms,
                                          struct signer_client **out);
void signer_client_close(struct signer_client **c);
/* municipality, epoch, size and root of *h are given; the rest is filled. */
VRS_CHECK enum vrs_err signer_head(struct signer_client *c, struct log_signed_head *h);
VRS_CHECK enum vrs_err signer_last(struct signer_client *c, const char *municipality,
                                   struct log_signed_head *out);
VRS_CHECK enum vrs_err signer_statement(struct signer_client *c, const char *kind, const void *text,
                                        size_t len, char key_id[9],
                                        uint8_t signature[CRYPTO_SIGNATURE_BYTES]);
struct signer_cert {
    const char *kind, *name, *municipality; /* municipality "" none */
    int days;
    int64_t begins_ms; /* 0: now */
    const char *request_pem;
};
/* Appends PEM to *out; serial in hex.  ERR_BAD_FIELD: the request does not verify or its key is too
 * weak. */
VRS_CHECK enum vrs_err signer_cert(struct signer_client *c, const struct signer_cert *what,
                                   struct buffer *out, char serial[48], int64_t *not_after_ms);
enum { SIGNER_MAX_KEYS = 16 };
struct signer_key {
    char key_id[9];
    uint8_t key[CRYPTO_ED25519_BYTES];
};
VRS_CHECK enum vrs_err signer_keys(struct signer_client *c, struct signer_key *out, size_t *count);
VRS_CHECK enum vrs_err signer_status(struct signer_client *c, struct buffer *text);

#endif
