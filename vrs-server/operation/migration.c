#include "vrs-server/operation/migration.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/json.h"
#include "lib/wire.h"

static const char format[] = "vrs-migration-1\n";
enum { HEAD_BYTES = 5, EPOCH_MS = 60000, PATH = 600 };

static void piece_aad(struct buffer *b, const struct migration_id *id, enum migration_frame type,
                      uint64_t number, bool last) {
    buffer_init(b, 512);
    wire_put_str(b, 1, format);
    wire_put_str(b, 2, id->municipality);
    wire_put(b, 3, id->id, sizeof id->id);
    wire_put_u64(b, 4, (uint64_t)type);
    wire_put_u64(b, 5, number);
    wire_put_u64(b, 6, last);
}

/* --- writing --- */

struct migration_out {
    char path[PATH], part[PATH + 8];
    FILE *file;
    struct migration_id id;
    struct crypto_digest *digest; /* NULL: it was asked for */
    struct crypto_sealer *sealer;
    struct buffer sealed;
    uint64_t pieces;
};

static bool put_bytes(struct migration_out *o, const void *p, size_t n) {
    if (o->digest != NULL)
        crypto_digest_add(o->digest, p, n);
    return fwrite(p, 1, n, o->file) == n;
}

enum vrs_err migration_put(struct migration_out *o, enum migration_frame type, const void *p,
                           size_t n) {
    const uint8_t head[HEAD_BYTES] = {(uint8_t)type, (uint8_t)(n >> 24), (uint8_t)(n >> 16),
                                      (uint8_t)(n >> 8), (uint8_t)n};
    if (n == 0 || n > MIGRATION_FRAME_MAX)
        return ERR_TOO_LARGE;
    return put_bytes(o, head, sizeof head) && put_bytes(o, p, n) ? VRS_OK : ERR_STORAGE;
}

static enum vrs_err put_head(struct migration_out *o) {
    struct buffer b;
    buffer_init(&b, 512);
    wire_put_str(&b, 1, o->id.municipality);
    wire_put(&b, 2, o->id.id, sizeof o->id.id);
    wire_put(&b, 3, o->id.to, sizeof o->id.to);
    enum vrs_err e = b.failed ? ERR_MEMORY
                     : !put_bytes(o, format, sizeof format - 1)
                         ? ERR_STORAGE
                         : migration_put(o, MIGRATION_HEAD, b.data, b.len);
    buffer_fini(&b);
    return e;
}

enum vrs_err migration_create(const char *path, const struct migration_id *id,
                              struct migration_out **out, struct vrs_fault *fault) {
    struct migration_out *o = *out = calloc(1, sizeof *o);
    if (o == NULL)
        return ERR_MEMORY;
    o->id = *id;
    buffer_init(&o->sealed, MIGRATION_FRAME_MAX);
    (void)snprintf(o->path, sizeof o->path, "%s", path);
    (void)snprintf(o->part, sizeof o->part, "%s.part", path);
    (void)unlink(o->part);
    int fd = access(path, F_OK) == 0
                 ? -1
                 : open(o->part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    enum vrs_err e = fd < 0 ? err_fail(fault, access(path, F_OK) == 0 ? ERR_CONFLICT : ERR_STORAGE,
                                       "make %s", path)
                            : VRS_OK;
    if (e == VRS_OK && (o->file = fdopen(fd, "wb")) == NULL)
        (void)close(fd);
    o->digest = crypto_digest_open();
    o->sealer = crypto_sealer_open(id->to, EPOCH_MS);
    if (e == VRS_OK && (o->file == NULL || o->digest == NULL || o->sealer == NULL))
        e = ERR_MEMORY;
    if (e == VRS_OK)
        e = put_head(o);
    if (e != VRS_OK && migration_end(out, false, NULL) != VRS_OK)
        return e;
    return e;
}

enum vrs_err migration_seal(struct migration_out *o, enum migration_frame type, bool last,
                            const void *p, size_t n) {
    struct buffer aad;
    piece_aad(&aad, &o->id, type, o->pieces++, last);
    buffer_clear(&o->sealed);
    enum vrs_err e = aad.failed
                         ? ERR_MEMORY
                         : crypto_sealer_seal(o->sealer, aad.data, aad.len, p, n, &o->sealed);
    buffer_fini(&aad);
    return e == VRS_OK ? migration_put(o, type, o->sealed.data, o->sealed.len) : e;
}

void migration_digest(struct migration_out *o, uint8_t out[CRYPTO_HASH_BYTES]) {
    crypto_digest_close(&o->digest, out);
}

enum vrs_err migration_end(struct migration_out **out, bool keep, struct vrs_fault *fault) {
    struct migration_out *o = *out;
    enum vrs_err e = VRS_OK;
    *out = NULL;
    if (o == NULL)
        return VRS_OK;
    if (o->file != NULL) {
        bool written = fflush(o->file) == 0 && fsync(fileno(o->file)) == 0;
        written = fclose(o->file) == 0 && written;
        if (keep && (!written || rename(o->part, o->path) != 0))
            e = err_fail(fault, ERR_STORAGE, "write %s", o->path);
        else if (keep)
            e = file_sync_dir_of(o->path, fault);
        if (!keep || e != VRS_OK)
            (void)unlink(o->part);
    }
    if (o->digest != NULL)
        crypto_digest_close(&o->digest, NULL);
    crypto_sealer_close(&o->sealer);
    buffer_fini(&o->sealed);
    free(o);
    return e;
}

/* --- reading --- */

/* ERR_NOT_FOUND: the end, where a frame would begin. */
static enum vrs_err next_frame(FILE *f, struct buffer *b, struct migration_piece *out,
                               uint8_t head[HEAD_BYTES]) {
    size_t got = fread(head, 1, HEAD_BYTES, f);
    if (got == 0 && feof(f) != 0)
        return ERR_NOT_FOUND;
    size_t n = (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
    if (got != HEAD_BYTES || n == 0 || n > MIGRATION_FRAME_MAX)
        return ERR_TAMPERED;
    buffer_clear(b);
    uint8_t *to = buffer_grow(b, n);
    if (to == NULL)
        return ERR_MEMORY;
    *out = (struct migration_piece){(enum migration_frame)head[0], b->data, n};
    return fread(to, 1, n, f) == n ? VRS_OK : ERR_TAMPERED;
}

static bool read_head(const struct migration_piece *p, struct migration_id *id) {
    struct wire_reader r;
    struct wire_field f[3];
    bool more = true;
    wire_open(&r, p->data, p->len);
    for (size_t i = 0; i < 3; i++) {
        if (wire_next(&r, &f[i], &more) != VRS_OK || !more || f[i].tag != i + 1)
            return false;
    }
    return p->type == MIGRATION_HEAD &&
           wire_str(&f[0], id->municipality, sizeof id->municipality) &&
           wire_fixed(&f[1], id->id, sizeof id->id) && wire_fixed(&f[2], id->to, sizeof id->to);
}

static bool good_signature(const struct migration_piece *s, const struct buffer *text,
                           const uint8_t signer[CRYPTO_ED25519_BYTES]) {
    struct wire_reader r;
    struct wire_field f[2];
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
    bool more = true;
    wire_open(&r, s->data, s->len);
    for (size_t i = 0; i < 2; i++) {
        if (wire_next(&r, &f[i], &more) != VRS_OK || !more || f[i].tag != i + 1)
            return false;
    }
    return wire_fixed(&f[1], signature, sizeof signature) &&
           crypto_verify(signer, text->data, text->len, signature) == VRS_OK;
}

static bool says_digest(const struct migration_piece *m, const struct migration_id *id,
                        const uint8_t digest[CRYPTO_HASH_BYTES]) {
    char hex[2 * CRYPTO_HASH_BYTES + 1];
    json_t *o = NULL;
    struct vrs_fault fault = {0};
    crypto_hex(digest, CRYPTO_HASH_BYTES, hex);
    bool good = json_parse(m->data, m->len, &o, &fault) == VRS_OK;
    const char *said = json_string_value(json_object_get(o, "sha256"));
    const char *code = json_string_value(json_object_get(o, "municipality_code"));
    good = good && said != NULL && strcmp(said, hex) == 0 && code != NULL &&
           strcmp(code, id->municipality) == 0;
    json_decref(o);
    return good;
}

/* Everything but the seals. */
static enum vrs_err check_whole(FILE *f, const uint8_t signer[CRYPTO_ED25519_BYTES],
                                struct migration_id *id, struct buffer *b) {
    struct migration_piece piece;
    struct buffer text;
    uint8_t head[HEAD_BYTES], digest[CRYPTO_HASH_BYTES];
    char begin[sizeof format - 1];
    bool first = true, said = false;
    struct crypto_digest *d = crypto_digest_open();
    if (d == NULL)
        return ERR_MEMORY;
    buffer_init(&text, MIGRATION_FRAME_MAX + 16);
    enum vrs_err e =
        fread(begin, 1, sizeof begin, f) == sizeof begin && memcmp(begin, format, sizeof begin) == 0
            ? VRS_OK
            : ERR_TAMPERED;
    crypto_digest_add(d, begin, sizeof begin);
    while (e == VRS_OK && (e = next_frame(f, b, &piece, head)) == VRS_OK && !said) {
        if (first && !read_head(&piece, id))
            e = ERR_TAMPERED;
        first = false;
        if (piece.type == MIGRATION_MANIFEST) {
            crypto_digest_close(&d, digest);
            said = true;
            (void)buffer_puts(&text, "migration\n");
            (void)buffer_put(&text, piece.data, piece.len);
            e = says_digest(&piece, id, digest) ? e : ERR_TAMPERED;
        } else {
            crypto_digest_add(d, head, sizeof head);
            crypto_digest_add(d, piece.data, piece.len);
        }
    }
    /* The frame behind the manifest was read: the signature, and then nothing. */
    if (e == VRS_OK && (!said || piece.type != MIGRATION_SIGNATURE ||
                        !good_signature(&piece, &text, signer) || fgetc(f) != EOF))
        e = ERR_TAMPERED;
    if (d != NULL)
        crypto_digest_close(&d, NULL);
    buffer_fini(&text);
    return e == ERR_NOT_FOUND ? ERR_TAMPERED : e;
}

enum vrs_err migration_read(const char *path, const uint8_t signer[CRYPTO_ED25519_BYTES],
                            struct migration_id *id, migration_fn *fn, void *arg,
                            struct vrs_fault *fault) {
    struct migration_piece piece;
    struct buffer b;
    uint8_t head[HEAD_BYTES];
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    FILE *f = fd >= 0 ? fdopen(fd, "rb") : NULL;
    if (f == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return err_fail(fault, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "open %s", path);
    }
    buffer_init(&b, MIGRATION_FRAME_MAX);
    enum vrs_err e = check_whole(f, signer, id, &b);
    if (e == VRS_OK && fseek(f, (long)sizeof format - 1, SEEK_SET) != 0)
        e = ERR_IO;
    while (e == VRS_OK && (e = next_frame(f, &b, &piece, head)) == VRS_OK) {
        if (piece.type != MIGRATION_HEAD && piece.type != MIGRATION_SIGNATURE)
            e = fn(&piece, arg);
    }
    buffer_fini(&b);
    (void)fclose(f);
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

enum vrs_err migration_unseal(struct crypto_opener *opener, const struct migration_id *id,
                              const struct migration_piece *piece, uint64_t number, bool last,
                              struct buffer *out) {
    struct buffer aad;
    piece_aad(&aad, id, piece->type, number, last);
    enum vrs_err e =
        aad.failed ? ERR_MEMORY
                   : crypto_opener_unseal(opener, aad.data, aad.len, piece->data, piece->len, out);
    buffer_fini(&aad);
    return e;
}
