/* RFC 6962 (and RFC 9162) Merkle trees over SHA-256: hashes, proofs and their checks; pure
 * functions, no storage.
 *
 * A tree of size n has leaves 0 … n-1.  node = SHA-256(0x01 || left || right); what a leaf hash is
 * made of is the caller's (always with a 0x00 in front).  MTH of an empty tree is SHA-256(""). */
#ifndef VRS_LIB_MERKLE_H
#define VRS_LIB_MERKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/crypto.h"

enum { MERKLE_MAX_DEPTH = 64 };

struct merkle_hash {
    uint8_t bytes[CRYPTO_HASH_BYTES];
};

void merkle_node(const struct merkle_hash *left, const struct merkle_hash *right,
                 struct merkle_hash *out);

/* The complete subtrees that make up a tree, largest first (a "compact range" from 0): one for each
 * bit of size.  It grows leaf by leaf; adding a complete subtree at once is for readers of stored
 * tiles. */
struct merkle_range {
    uint64_t size;
    unsigned count;
    struct merkle_hash peak[MERKLE_MAX_DEPTH];
};
void merkle_range_init(struct merkle_range *r);
void merkle_range_add(struct merkle_range *r, const struct merkle_hash *leaf);
/* 2^level leaves; false unless size is a multiple of 2^level. */
bool merkle_range_add_subtree(struct merkle_range *r, unsigned level,
                              const struct merkle_hash *root);
void merkle_range_root(const struct merkle_range *r, struct merkle_hash *out);

/* Root of `count` leaf hashes. */
void merkle_root(const struct merkle_hash *leaves, size_t count, struct merkle_hash *out);

/* Reads the hash of the complete subtree of 2^level leaves number `index`. */
typedef enum vrs_err merkle_read_fn(unsigned level, uint64_t index, struct merkle_hash *out,
                                    void *arg);
/* Audit path of leaf `index` in the tree of `size` (RFC 9162 2.1.3.1), lowest first; out has room
 * for MERKLE_MAX_DEPTH. */
VRS_CHECK enum vrs_err merkle_path(uint64_t index, uint64_t size, merkle_read_fn *read, void *arg,
                                   struct merkle_hash *out, size_t *count);
/* Consistency proof between the trees of size `from` and `to` (2.1.4.1). */
VRS_CHECK enum vrs_err merkle_consistency(uint64_t from, uint64_t to, merkle_read_fn *read,
                                          void *arg, struct merkle_hash *out, size_t *count);
/* The checks (2.1.3.2, 2.1.4.2): the whole proof must be consumed. */
bool merkle_path_check(const struct merkle_hash *leaf, uint64_t index, uint64_t size,
                       const struct merkle_hash *path, size_t count,
                       const struct merkle_hash *root);
bool merkle_consistency_check(uint64_t from, const struct merkle_hash *from_root, uint64_t to,
                              const struct merkle_hash *to_root, const struct merkle_hash *proof,
                              size_t count);

#endif
