#include "lib/merkle.h"

#include <string.h>

static bool same(const struct merkle_hash *a, const struct merkle_hash *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void merkle_node(const struct merkle_hash *left, const struct merkle_hash *right,
                 struct merkle_hash *out) {
    uint8_t both[1 + 2 * CRYPTO_HASH_BYTES] = {1};
    memcpy(both + 1, left->bytes, CRYPTO_HASH_BYTES);
    memcpy(both + 1 + CRYPTO_HASH_BYTES, right->bytes, CRYPTO_HASH_BYTES);
    crypto_sha256(both, sizeof both, out->bytes);
}

/* ---- compact ranges */

void merkle_range_init(struct merkle_range *r) {
    r->size = 0;
    r->count = 0;
}

bool merkle_range_add_subtree(struct merkle_range *r, unsigned level,
                              const struct merkle_hash *root) {
    if (level >= MERKLE_MAX_DEPTH || (r->size & ((UINT64_C(1) << level) - 1)) != 0 ||
        r->size + (UINT64_C(1) << level) < r->size)
        return false;
    struct merkle_hash hash = *root;
    for (uint64_t bits = r->size >> level; (bits & 1) != 0; bits >>= 1)
        merkle_node(&r->peak[--r->count], &hash, &hash);
    r->peak[r->count++] = hash;
    r->size += UINT64_C(1) << level;
    return true;
}

void merkle_range_add(struct merkle_range *r, const struct merkle_hash *leaf) {
    (void)merkle_range_add_subtree(r, 0, leaf);
}

void merkle_range_root(const struct merkle_range *r, struct merkle_hash *out) {
    if (r->count == 0) {
        crypto_sha256("", 0, out->bytes);
        return;
    }
    *out = r->peak[r->count - 1];
    for (unsigned i = r->count - 1; i > 0; i--)
        merkle_node(&r->peak[i - 1], out, out);
}

void merkle_root(const struct merkle_hash *leaves, size_t count, struct merkle_hash *out) {
    struct merkle_range r;
    merkle_range_init(&r);
    for (size_t i = 0; i < count; i++)
        merkle_range_add(&r, &leaves[i]);
    merkle_range_root(&r, out);
}

/* ---- proofs */

/* Root of `count` leaves from `first`, of which count ≤ 2^k and 2^k divides `first`: so its complete
 * subtrees are complete ones of the whole tree, too. */
static enum vrs_err root_of(uint64_t first, uint64_t count, merkle_read_fn *read, void *arg,
                            struct merkle_hash *out) {
    struct merkle_range r;
    merkle_range_init(&r);
    for (unsigned level = MERKLE_MAX_DEPTH; level-- > 0;) {
        struct merkle_hash hash;
        if ((count >> level & 1) == 0)
            continue;
        enum vrs_err e = read(level, (first + r.size) >> level, &hash, arg);
        if (e != VRS_OK)
            return e;
        (void)merkle_range_add_subtree(&r, level, &hash);
    }
    merkle_range_root(&r, out);
    return VRS_OK;
}

enum vrs_err merkle_path(uint64_t index, uint64_t size, merkle_read_fn *read, void *arg,
                         struct merkle_hash *out, size_t *count) {
    *count = 0;
    if (index >= size || size > UINT64_MAX / 2)
        return ERR_BAD_FIELD;
    uint64_t last = size - 1;
    for (unsigned level = 0; last >> level != 0; level++) {
        uint64_t sibling = (index >> level) ^ 1;
        uint64_t first = sibling << level, width = UINT64_C(1) << level;
        if (sibling > last >> level)
            continue; /* an odd end is handed up as it is */
        if (width > size - first)
            width = size - first;
        enum vrs_err e = root_of(first, width, read, arg, &out[*count]);
        if (e != VRS_OK)
            return e;
        ++*count;
    }
    return VRS_OK;
}

struct part {
    uint64_t first, count;
};

enum vrs_err merkle_consistency(uint64_t from, uint64_t to, merkle_read_fn *read, void *arg,
                                struct merkle_hash *out, size_t *count) {
    struct part parts[MERKLE_MAX_DEPTH + 1];
    size_t n = 0;
    uint64_t first = 0, m = from, size = to;
    bool whole = true; /* the old tree's own root, which the checker has */
    *count = 0;
    if (from > to || to > UINT64_MAX / 2)
        return ERR_BAD_FIELD;
    if (from == 0 || from == to)
        return VRS_OK;
    while (m != size) { /* SUBPROOF: what is beside the way down, to be said in reverse */
        uint64_t k = 1;
        while (k < size - k)
            k *= 2;
        if (m <= k) {
            parts[n++] = (struct part){first + k, size - k};
            size = k;
        } else {
            parts[n++] = (struct part){first, k};
            first += k;
            m -= k;
            size -= k;
            whole = false;
        }
    }
    if (!whole)
        parts[n++] = (struct part){first, size};
    while (n-- > 0) {
        enum vrs_err e = root_of(parts[n].first, parts[n].count, read, arg, &out[*count]);
        if (e != VRS_OK)
            return e;
        ++*count;
    }
    return VRS_OK;
}

/* ---- checks, in the words of RFC 9162 */

bool merkle_path_check(const struct merkle_hash *leaf, uint64_t index, uint64_t size,
                       const struct merkle_hash *path, size_t count,
                       const struct merkle_hash *root) {
    if (index >= size || count > MERKLE_MAX_DEPTH)
        return false;
    uint64_t fn = index, sn = size - 1;
    struct merkle_hash r = *leaf;
    for (size_t i = 0; i < count; i++) {
        if (sn == 0)
            return false;
        if ((fn & 1) != 0 || fn == sn) {
            merkle_node(&path[i], &r, &r);
            while ((fn & 1) == 0 && fn != 0) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            merkle_node(&r, &path[i], &r);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && same(&r, root);
}

bool merkle_consistency_check(uint64_t from, const struct merkle_hash *from_root, uint64_t to,
                              const struct merkle_hash *to_root, const struct merkle_hash *proof,
                              size_t count) {
    struct merkle_hash empty, fr, sr;
    if (from > to || count > MERKLE_MAX_DEPTH)
        return false;
    if (from == to)
        return count == 0 && same(from_root, to_root);
    if (from == 0) {
        crypto_sha256("", 0, empty.bytes);
        return count == 0 && same(from_root, &empty);
    }
    uint64_t fn = from - 1, sn = to - 1;
    for (; (fn & 1) != 0; fn >>= 1)
        sn >>= 1;
    size_t i = 0;
    if ((from & (from - 1)) == 0) {
        fr = sr = *from_root;
    } else {
        if (count == 0)
            return false;
        fr = sr = proof[i++];
    }
    for (; i < count; i++) {
        if (sn == 0)
            return false;
        if ((fn & 1) != 0 || fn == sn) {
            merkle_node(&proof[i], &fr, &fr);
            merkle_node(&proof[i], &sr, &sr);
            while ((fn & 1) == 0 && fn != 0) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            merkle_node(&sr, &proof[i], &sr);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && same(&fr, from_root) && same(&sr, to_root);
}
