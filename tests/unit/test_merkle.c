#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/merkle.h"

enum { MOST = 130 };

static struct merkle_hash leaves[MOST];

static struct merkle_hash unhex(const char *hex) {
    struct merkle_hash h;
    assert_true(crypto_unhex(hex, h.bytes, sizeof h.bytes));
    return h;
}

static void assert_same(const struct merkle_hash *a, const struct merkle_hash *b) {
    assert_memory_equal(a->bytes, b->bytes, sizeof a->bytes);
}

static void leaf_of(const void *p, size_t n, struct merkle_hash *out) {
    uint8_t text[64] = {0};
    memcpy(text + 1, p, n);
    crypto_sha256(text, n + 1, out->bytes);
}

/* The definitions of RFC 6962 2.1, word for word. */
static uint64_t naive_split(uint64_t n) {
    uint64_t k = 1;
    while (2 * k < n)
        k *= 2;
    return k;
}

static void naive_root(const struct merkle_hash *d, uint64_t n, struct merkle_hash *out) {
    struct merkle_hash left, right;
    if (n == 0) {
        crypto_sha256("", 0, out->bytes);
    } else if (n == 1) {
        *out = d[0];
    } else {
        naive_root(d, naive_split(n), &left);
        naive_root(d + naive_split(n), n - naive_split(n), &right);
        merkle_node(&left, &right, out);
    }
}

static size_t naive_path(uint64_t m, const struct merkle_hash *d, uint64_t n,
                         struct merkle_hash *out) {
    if (n == 1)
        return 0;
    uint64_t k = naive_split(n);
    size_t count = m < k ? naive_path(m, d, k, out) : naive_path(m - k, d + k, n - k, out);
    if (m < k)
        naive_root(d + k, n - k, &out[count]);
    else
        naive_root(d, k, &out[count]);
    return count + 1;
}

static size_t naive_subproof(uint64_t m, const struct merkle_hash *d, uint64_t n, bool b,
                             struct merkle_hash *out) {
    if (m == n) {
        if (!b)
            naive_root(d, n, out);
        return b ? 0 : 1;
    }
    uint64_t k = naive_split(n);
    size_t count =
        m <= k ? naive_subproof(m, d, k, b, out) : naive_subproof(m - k, d + k, n - k, false, out);
    if (m <= k)
        naive_root(d + k, n - k, &out[count]);
    else
        naive_root(d, k, &out[count]);
    return count + 1;
}

/* Complete subtrees of `leaves`; none beyond *arg leaves is ever asked for. */
static enum vrs_err read_naive(unsigned level, uint64_t index, struct merkle_hash *out, void *arg) {
    uint64_t width = UINT64_C(1) << level, size = *(const uint64_t *)arg;
    assert_true(width <= size && index * width <= size - width);
    naive_root(leaves + index * width, width, out);
    return VRS_OK;
}

static enum vrs_err read_nothing(unsigned level, uint64_t index, struct merkle_hash *out,
                                 void *arg) {
    (void)level;
    (void)index;
    (void)out;
    (void)arg;
    return ERR_STORAGE;
}

static int fill(void **state) {
    (void)state;
    for (unsigned i = 0; i < MOST; i++)
        leaf_of(&i, sizeof i, &leaves[i]);
    return 0;
}

/* The tree that the tests of certificate-transparency and RFC 9162's implementations use. */
static const struct {
    size_t len;
    const char *bytes;
} ct_leaves[8] = {
    {0, ""},
    {1, "\x00"},
    {1, "\x10"},
    {2, "\x20\x21"},
    {2, "\x30\x31"},
    {4, "\x40\x41\x42\x43"},
    {8, "\x50\x51\x52\x53\x54\x55\x56\x57"},
    {16, "\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f"},
};
static const char *const ct_roots[9] = {
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
};
static const struct {
    bool consistency;
    uint64_t a, size;
    size_t count;
    const char *hashes[3];
} ct_proofs[] = {
    {false, 0, 1, 0, {0}},
    {false,
     0,
     8,
     3,
     {"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
    {false,
     5,
     8,
     3,
     {"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
      "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
    {false, 2, 3, 1, {"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"}},
    {false,
     1,
     5,
     3,
     {"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}},
    {true,
     1,
     8,
     3,
     {"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
    {true,
     6,
     8,
     3,
     {"0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
      "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
    {true,
     2,
     5,
     2,
     {"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}},
};

static void the_published_tree(void **state) {
    (void)state;
    struct merkle_hash root, expected, proof[MERKLE_MAX_DEPTH];
    for (size_t i = 0; i < 8; i++)
        leaf_of(ct_leaves[i].bytes, ct_leaves[i].len, &leaves[i]);
    for (size_t n = 0; n <= 8; n++) {
        merkle_root(leaves, n, &root);
        expected = unhex(ct_roots[n]);
        assert_same(&root, &expected);
    }
    for (size_t i = 0; i < sizeof ct_proofs / sizeof *ct_proofs; i++) {
        uint64_t size = ct_proofs[i].size;
        size_t count = 99;
        assert_int_equal(
            ct_proofs[i].consistency
                ? merkle_consistency(ct_proofs[i].a, size, read_naive, &size, proof, &count)
                : merkle_path(ct_proofs[i].a, size, read_naive, &size, proof, &count),
            VRS_OK);
        assert_int_equal(count, ct_proofs[i].count);
        for (size_t j = 0; j < count; j++) {
            expected = unhex(ct_proofs[i].hashes[j]);
            assert_same(&proof[j], &expected);
        }
    }
    (void)fill(NULL);
}

static void every_size_agrees_with_the_definition(void **state) {
    (void)state;
    struct merkle_range r, by_subtree;
    struct merkle_hash root, naive;
    merkle_range_init(&r);
    for (uint64_t n = 0; n <= MOST; n++) {
        if (n > 0)
            merkle_range_add(&r, &leaves[n - 1]);
        assert_int_equal(r.size, n);
        assert_int_equal(r.count, __builtin_popcountll(n));
        naive_root(leaves, n, &naive);
        merkle_range_root(&r, &root);
        assert_same(&root, &naive);
        merkle_root(leaves, n, &root);
        assert_same(&root, &naive);

        merkle_range_init(&by_subtree);
        for (unsigned level = 8; level-- > 0;) {
            struct merkle_hash sub;
            uint64_t width = UINT64_C(1) << level;
            for (; n - by_subtree.size >= width && by_subtree.size % width == 0;) {
                naive_root(leaves + by_subtree.size, width, &sub);
                assert_true(merkle_range_add_subtree(&by_subtree, level, &sub));
            }
        }
        merkle_range_root(&by_subtree, &root);
        assert_int_equal(by_subtree.size, n);
        assert_same(&root, &naive);
    }
    r.size = 3;
    assert_false(merkle_range_add_subtree(&r, 1, &root));
    assert_false(merkle_range_add_subtree(&r, 64, &root));
}

static void every_path_agrees_and_checks(void **state) {
    (void)state;
    struct merkle_hash path[MERKLE_MAX_DEPTH], naive[MERKLE_MAX_DEPTH], root;
    for (uint64_t n = 1; n <= MOST; n++) {
        naive_root(leaves, n, &root);
        for (uint64_t i = 0; i < n; i++) {
            size_t count = 99;
            assert_int_equal(merkle_path(i, n, read_naive, &n, path, &count), VRS_OK);
            assert_int_equal(count, naive_path(i, leaves, n, naive));
            assert_memory_equal(path, naive, count * sizeof *path);
            assert_true(merkle_path_check(&leaves[i], i, n, path, count, &root));

            path[count] = leaves[0]; /* trailing */
            assert_false(merkle_path_check(&leaves[i], i, n, path, count + 1, &root));
            if (count > 0)
                assert_false(merkle_path_check(&leaves[i], i, n, path, count - 1, &root));
            assert_false(merkle_path_check(&leaves[i], n, n, path, count, &root));
            if (n > 1)
                assert_false(merkle_path_check(&leaves[i], (i + 1) % n, n, path, count, &root));
            assert_false(merkle_path_check(&leaves[(i + 1) % MOST], i, n, path, count, &root));
            for (size_t j = 0; j < count; j++) {
                path[j].bytes[j % 32] ^= 1;
                assert_false(merkle_path_check(&leaves[i], i, n, path, count, &root));
                path[j].bytes[j % 32] ^= 1;
            }
        }
    }
}

static void every_consistency_proof_agrees_and_checks(void **state) {
    (void)state;
    static struct merkle_hash roots[MOST + 1];
    struct merkle_hash proof[MERKLE_MAX_DEPTH], naive[MERKLE_MAX_DEPTH];
    for (uint64_t n = 0; n <= MOST; n++)
        naive_root(leaves, n, &roots[n]);
    for (uint64_t to = 0; to <= MOST; to++) {
        for (uint64_t from = 0; from <= to; from++) {
            size_t count = 99;
            assert_int_equal(merkle_consistency(from, to, read_naive, &to, proof, &count), VRS_OK);
            assert_int_equal(count, from == 0 ? 0 : naive_subproof(from, leaves, to, true, naive));
            assert_memory_equal(proof, naive, count * sizeof *proof);
            assert_true(merkle_consistency_check(from, &roots[from], to, &roots[to], proof, count));

            proof[count] = leaves[0]; /* trailing */
            assert_false(
                merkle_consistency_check(from, &roots[from], to, &roots[to], proof, count + 1));
            if (count > 0)
                assert_false(
                    merkle_consistency_check(from, &roots[from], to, &roots[to], proof, count - 1));
            if (from > 0) {
                assert_false(
                    merkle_consistency_check(from, &roots[from - 1], to, &roots[to], proof, count));
                assert_false(merkle_consistency_check(from, &roots[from], to, &roots[from - 1],
                                                      proof, count));
            }
            assert_false(merkle_consistency_check(to + 1, &roots[to], to, &roots[to], proof, 0));
            for (size_t j = 0; j < count; j++) {
                proof[j].bytes[j % 32] ^= 1;
                assert_false(
                    merkle_consistency_check(from, &roots[from], to, &roots[to], proof, count));
                proof[j].bytes[j % 32] ^= 1;
            }
        }
    }
}

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    struct merkle_hash proof[MERKLE_MAX_DEPTH];
    size_t count = 0;
    uint64_t n = 5;
    assert_int_equal(merkle_path(5, 5, read_naive, &n, proof, &count), ERR_BAD_FIELD);
    assert_int_equal(merkle_path(0, 0, read_naive, &n, proof, &count), ERR_BAD_FIELD);
    assert_int_equal(merkle_path(0, UINT64_MAX, read_naive, &n, proof, &count), ERR_BAD_FIELD);
    assert_int_equal(merkle_consistency(6, 5, read_naive, &n, proof, &count), ERR_BAD_FIELD);
    assert_int_equal(merkle_path(1, 5, read_nothing, NULL, proof, &count), ERR_STORAGE);
    assert_int_equal(merkle_consistency(3, 5, read_nothing, NULL, proof, &count), ERR_STORAGE);
    assert_false(merkle_path_check(&leaves[0], 0, UINT64_MAX, proof, MERKLE_MAX_DEPTH + 1, proof));
    assert_false(merkle_consistency_check(1, leaves, UINT64_MAX, leaves, proof, 65));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_tree),
        cmocka_unit_test(every_size_agrees_with_the_definition),
        cmocka_unit_test(every_path_agrees_and_checks),
        cmocka_unit_test(every_consistency_proof_agrees_and_checks),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
