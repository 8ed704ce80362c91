/* vrs-signer behind its real socket: a forked server, vrs-server's client, raw messages. */
// needs: vrs-server/signer/message.c vrs-server/signer/heads.c vrs-server/signer/keys.c
// needs: vrs-server/signer/serve.c vrs-server/signer/client.c
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/local.h"
#include "lib/log.h"
#include "lib/pki.h"
#include "lib/wire.h"
#include "vrs-server/signer/message.h"
#include "vrs-server/signer/serve.h"

enum { DEADLINE_MS = 20000 };

#define MINATO "131032"
#define KAGOSHIMA "462012"

static char folder[64];
static pid_t server = -1;
static struct signer_client *client;
static uid_t peer;

static const char *at(const char *name) {
    static char paths[8][160];
    static int i;
    i = (i + 1) % 8;
    (void)snprintf(paths[i], sizeof paths[i], "%s/%s", folder, name);
    return paths[i];
}

static void put(const char *name, const char *text) {
    FILE *f = fopen(at(name), "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void new_log_key(int n) {
    struct secret_key key;
    uint8_t public_key[CRYPTO_ED25519_BYTES];
    char hex[65], name[32];
    crypto_ed25519_keypair(&key, public_key);
    crypto_hex(key.bytes, sizeof key.bytes, hex);
    (void)snprintf(name, sizeof name, "keys/log-%d.key", n);
    put(name, hex);
    crypto_hex(public_key, sizeof public_key, hex);
    (void)snprintf(name, sizeof name, "keys/log-%d.pub", n);
    put(name, hex);
}

/* ---- the server */

static int run_server(int listener, int ready) {
    struct vrs_fault fault = {0};
    struct log_keys keys;
    struct heads *heads = NULL;
    enum vrs_err e = log_keys_read(at("keys"), &keys, &fault);
    if (e == VRS_OK)
        e = heads_open(at("state"), &heads, &fault);
    if (e == VRS_OK)
        e = local_signals(&fault);
    (void)close(ready);
    const struct signer_serve o = {.peer_uid = peer,
                                   .max_connections = 8,
                                   .facts = "facts=1\n",
                                   .keys_dir = at("keys"),
                                   .keys = &keys,
                                   .heads = heads};
    if (e == VRS_OK)
        e = signer_serve(listener, &o, &fault);
    heads_close(&heads);
    log_keys_fini(&keys);
    if (e != VRS_OK)
        log_fault(LOG_ERROR, "test.server", &fault);
    return e == VRS_OK ? 0 : 1;
}

static void start(void) {
    struct vrs_fault fault = {0};
    int listener, ready[2];
    char byte;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(local_listen(at("sock"), (uid_t)-1, (gid_t)-1, &listener, &fault), VRS_OK);
    (void)fflush(NULL);
    server = fork();
    assert_true(server >= 0);
    if (server == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close(ready[0]);
        _exit(run_server(listener, ready[1]));
    }
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 0); /* it can be stopped from here on */
    (void)close(ready[0]);
    (void)close(listener);
}

static int stop_by(int how) {
    int status;
    assert_int_equal(kill(server, how), 0);
    assert_int_equal(waitpid(server, &status, 0), server);
    server = -1;
    return status;
}

static void stop(void) {
    if (server >= 0)
        assert_int_equal(stop_by(SIGTERM), 0);
}

/* A pause after a failure is the client's: a new one asks at once. */
static void fresh_client(void) {
    signer_client_close(&client);
    assert_int_equal(signer_client_open(at("sock"), DEADLINE_MS, &client), VRS_OK);
}

static int setup(void **state) {
    (void)state;
    struct vrs_fault fault = {0};
    (void)snprintf(folder, sizeof folder, "/tmp/test_signer.XXXXXX");
    if (mkdtemp(folder) == NULL || mkdir(at("keys"), 0700) != 0)
        return -1;
    new_log_key(1);
    assert_int_equal(
        pki_make_ca(at("keys/ca-tablets.pem"), at("keys/ca-tablets.key"), "tablets", 30, &fault),
        VRS_OK);
    assert_int_equal(
        pki_make_ca(at("keys/ca-lgwan.pem"), at("keys/ca-lgwan.key"), "lgwan", 30, &fault), VRS_OK);
    peer = geteuid();
    start();
    fresh_client();
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f) {
    (void)st, (void)type, (void)f;
    return remove(path);
}

static int teardown(void **state) {
    (void)state;
    signer_client_close(&client);
    stop();
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- heads */

static enum vrs_err sign(const char *municipality, const char *epoch, uint64_t size, uint8_t root,
                         struct log_signed_head *out) {
    struct log_signed_head h;
    memset(&h, 0, sizeof h);
    (void)snprintf(h.municipality, sizeof h.municipality, "%s", municipality);
    (void)snprintf(h.epoch, sizeof h.epoch, "%s", epoch);
    h.size = size;
    memset(&h.root, root, sizeof h.root);
    enum vrs_err e = signer_head(client, &h);
    if (out != NULL)
        *out = h;
    return e;
}

static void test_a_head_is_signed(void **state) {
    (void)state;
    struct log_signed_head h;
    struct signer_key keys[SIGNER_MAX_KEYS];
    size_t n;
    assert_int_equal(sign(MINATO, "1", 7, 1, &h), VRS_OK);
    assert_int_equal(signer_keys(client, keys, &n), VRS_OK);
    assert_int_equal(n, 1);
    assert_string_equal(h.key_id, keys[0].key_id);
    assert_true(proof_head_check(&h, keys[0].key));
    h.size++;
    assert_false(proof_head_check(&h, keys[0].key));
}

static void test_contradictions_are_refused(void **state) {
    (void)state;
    static const char next[] = "0c5f1e9a-0000-4000-8000-000000000001";
    assert_int_equal(sign(MINATO, "1", 7, 1, NULL), VRS_OK);
    assert_int_equal(sign(MINATO, "1", 7, 1, NULL), VRS_OK); /* the same once more */
    assert_int_equal(sign(MINATO, "1", 7, 2, NULL), ERR_TAMPERED);
    assert_int_equal(sign(MINATO, "1", 6, 1, NULL), ERR_TAMPERED);
    assert_int_equal(sign(KAGOSHIMA, "1", 6, 2, NULL), VRS_OK); /* another town's memory */
    assert_int_equal(sign(MINATO, "1", 9, 3, NULL), VRS_OK);
    assert_int_equal(sign(MINATO, next, 8, 4, NULL), VRS_OK); /* a restore: shorter, new epoch */
    assert_int_equal(sign(MINATO, "1", 10, 3, NULL), ERR_TAMPERED);
    assert_int_equal(sign(MINATO, "1", 9, 3, NULL), ERR_TAMPERED);
    assert_int_equal(sign(MINATO, next, 7, 4, NULL), ERR_TAMPERED);
}

static void memory_is_kept(void) {
    start();
    fresh_client();
    assert_int_equal(sign(MINATO, "1", 7, 2, NULL), ERR_TAMPERED);
    assert_int_equal(sign(MINATO, "1", 6, 1, NULL), ERR_TAMPERED);
    assert_int_equal(sign(KAGOSHIMA, "1", 5, 1, NULL), ERR_TAMPERED);
    assert_int_equal(sign(MINATO, "1", 7, 1, NULL), VRS_OK);
    assert_int_equal(sign(KAGOSHIMA, "a", 2, 1, NULL), VRS_OK);
}

static void test_restart_keeps_the_memory(void **state) {
    (void)state;
    assert_int_equal(sign(KAGOSHIMA, "1", 5, 1, NULL), VRS_OK);
    assert_int_equal(sign(KAGOSHIMA, "a", 1, 1, NULL), VRS_OK);
    for (uint64_t n = 1; n <= 7; n++)
        assert_int_equal(sign(MINATO, "1", n, 1, NULL), VRS_OK);
    stop();
    memory_is_kept();
}

static void test_a_kill_keeps_the_memory(void **state) {
    (void)state;
    assert_int_equal(sign(KAGOSHIMA, "1", 5, 1, NULL), VRS_OK);
    assert_int_equal(sign(KAGOSHIMA, "a", 1, 1, NULL), VRS_OK);
    assert_int_equal(sign(MINATO, "1", 7, 1, NULL), VRS_OK);
    assert_true(WIFSIGNALED(stop_by(SIGKILL)));
    memory_is_kept();
    stop();
    /* What a power cut leaves of a last line is not taken for one. */
    FILE *f = fopen(at("state/heads"), "ae");
    assert_non_null(f);
    assert_true(fputs(MINATO " 1 99", f) >= 0);
    assert_int_equal(fclose(f), 0);
    start();
    fresh_client();
    assert_int_equal(sign(MINATO, "1", 8, 2, NULL), VRS_OK);
    /* Nor is a sector that it lost among the lines that were not synced. */
    stop();
    f = fopen(at("state/heads"), "ae");
    assert_non_null(f);
    assert_int_equal(fwrite("\0\0\0\0\n" MINATO " 1 99 00\n", 1, 5 + 16, f), 5 + 16);
    assert_int_equal(fclose(f), 0);
    start();
    fresh_client();
    assert_int_equal(sign(MINATO, "1", 8, 1, NULL), ERR_TAMPERED);
    assert_int_equal(sign(MINATO, "1", 9, 1, NULL), VRS_OK);
}

static void test_the_last_head_is_told(void **state) {
    (void)state;
    struct log_signed_head last;
    assert_int_equal(signer_last(client, MINATO, &last), ERR_NOT_FOUND);
    assert_int_equal(sign(MINATO, "1", 7, 1, NULL), VRS_OK);
    assert_int_equal(sign(MINATO, "b", 3, 1, NULL), VRS_OK);
    assert_int_equal(signer_last(client, MINATO, &last), VRS_OK);
    assert_string_equal(last.epoch, "b");
    assert_int_equal(last.size, 3);
    assert_int_equal(signer_last(client, KAGOSHIMA, &last), ERR_NOT_FOUND);
}

/* The file has grown, its bytes are not there: zeros up to the end, or up to a page that was
 * written. */
static void test_a_power_loss_leaves_zeros(void **state) {
    (void)state;
    static const char root[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    assert_int_equal(sign(MINATO, "1", 7, 1, NULL), VRS_OK);
    stop();
    FILE *f = fopen(at("state/heads"), "ae");
    assert_non_null(f);
    static const char zeros[5000];
    assert_int_equal(fwrite(zeros, 1, sizeof zeros, f), sizeof zeros);
    assert_true(fprintf(f, " %s\n" KAGOSHIMA " 1 5 %s\n", root, root) > 0);
    assert_int_equal(fwrite(zeros, 1, sizeof zeros, f), sizeof zeros);
    assert_int_equal(fclose(f), 0);
    start();
    fresh_client();
    assert_int_equal(sign(MINATO, "1", 6, 1, NULL), ERR_TAMPERED);
    assert_int_equal(sign(KAGOSHIMA, "1", 4, 1, NULL), ERR_TAMPERED);
    assert_int_equal(sign(MINATO, "1", 8, 1, NULL), VRS_OK);
}

static void test_a_foreign_memory_refuses_the_start(void **state) {
    (void)state;
    struct vrs_fault fault = {0};
    struct heads *heads = NULL;
    stop();
    put("state/heads", MINATO " 1 two 00\n" MINATO " 1 3 00\n");
    assert_int_equal(heads_open(at("state"), &heads, &fault), ERR_CORRUPT);
    assert_null(heads);
}

static void test_many_heads_compact(void **state) {
    (void)state;
    struct stat st;
    char code[7];
    for (int i = 0; i < 300; i++) {
        (void)snprintf(code, sizeof code, "%06d", 100000 + i * 7 % 300);
        assert_int_equal(sign(code, "1", 1, 1, NULL), VRS_OK);
        assert_int_equal(sign(code, "1", 2, 2, NULL), VRS_OK);
    }
    assert_int_equal(stat(at("state/heads"), &st), 0);
    off_t grown = st.st_size;
    stop();
    start();
    fresh_client();
    assert_int_equal(sign("100001", "1", 2, 1, NULL), ERR_TAMPERED);
    assert_int_equal(stat(at("state/heads"), &st), 0);
    const off_t end = sizeof "whole\n" - 1;
    assert_int_equal(st.st_size - end, (grown - end) / 2);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_rotation_keeps_old_keys(void **state) {
    (void)state;
    struct log_signed_head before, after;
    struct signer_key keys[SIGNER_MAX_KEYS];
    size_t n;
    assert_int_equal(sign(MINATO, "1", 1, 1, &before), VRS_OK);
    stop();
    new_log_key(2);
    start();
    fresh_client();
    assert_int_equal(sign(MINATO, "1", 2, 1, &after), VRS_OK);
    assert_int_equal(signer_keys(client, keys, &n), VRS_OK);
    assert_int_equal(n, 2);
    assert_string_equal(after.key_id, keys[0].key_id);
    assert_string_equal(before.key_id, keys[1].key_id);
    assert_true(proof_head_check(&after, keys[0].key));
    assert_true(proof_head_check(&before, keys[1].key));
}

/* ---- statements and certificates */

static void test_statements_of_the_closed_list(void **state) {
    (void)state;
    static const char text[] = "who and what\n", whole[] = "erasure\nwho and what\n";
    char id[9];
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
    struct signer_key keys[SIGNER_MAX_KEYS];
    size_t n;
    assert_int_equal(signer_statement(client, "erasure", text, sizeof text - 1, id, signature),
                     VRS_OK);
    assert_int_equal(signer_keys(client, keys, &n), VRS_OK);
    assert_string_equal(id, keys[0].key_id);
    assert_int_equal(crypto_verify(keys[0].key, whole, sizeof whole - 1, signature), VRS_OK);
    /* A head cannot be signed as a statement. */
    assert_int_equal(signer_statement(client, "vrs-log/1", text, sizeof text - 1, id, signature),
                     ERR_BAD_FIELD);
}

static void test_certificates(void **state) {
    (void)state;
    struct vrs_fault fault = {0};
    struct buffer request, pem;
    char serial[48], key_hash[65], cert_hash[65];
    int64_t end_ms;
    buffer_init(&request, PKI_REQUEST_MAX);
    buffer_init(&pem, 1 << 16);
    assert_int_equal(pki_make_request(at("terminal.key"), "says anything", &request, &fault),
                     VRS_OK);
    struct signer_cert what = {.kind = "tablet",
                               .name = "tablet-7",
                               .municipality = MINATO,
                               .days = 30,
                               .request_pem = buffer_cstr(&request)};
    assert_int_equal(signer_cert(client, &what, &pem, serial, &end_ms), VRS_OK);
    assert_true(strlen(serial) >= 30 && end_ms > 0);
    assert_int_equal(pki_request_key((const char *)request.data, request.len, key_hash), VRS_OK);
    assert_int_equal(pki_cert_key((const char *)pem.data, pem.len, cert_hash), VRS_OK);
    assert_string_equal(key_hash, cert_hash);
    put("terminal.pem", buffer_cstr(&pem));
    char command[512], line[256] = "";
    (void)snprintf(command, sizeof command,
                   "openssl verify -purpose sslclient -CAfile %s %s >/dev/null && openssl x509 "
                   "-in %s -noout -subject -nameopt RFC2253",
                   at("keys/ca-tablets.pem"), at("terminal.pem"), at("terminal.pem"));
    FILE *p = popen(command, "re"); // NOLINT(cert-env33-c)
    assert_non_null(p);
    assert_non_null(fgets(line, sizeof line, p));
    assert_int_equal(pclose(p), 0);
    assert_string_equal(line, "subject=CN=tablet-7,OU=tablet,O=" MINATO "\n");

    what.kind = "ca";
    assert_int_equal(signer_cert(client, &what, &pem, serial, &end_ms), ERR_BAD_FIELD);
    what.kind = "lgwan";
    request.data[request.len / 2] ^= 1; /* not what the key signed any more */
    what.request_pem = buffer_cstr(&request);
    assert_int_equal(signer_cert(client, &what, &pem, serial, &end_ms), ERR_BAD_FIELD);
    buffer_fini(&request);
    buffer_fini(&pem);
}

/* ---- who may speak, and how */

static int connect_raw(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", at("sock"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void expect_ended(int fd) {
    char byte;
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    (void)close(fd);
}

static void test_garbage_ends_the_connection(void **state) {
    (void)state;
    static const uint8_t nothing[4] = {0}, long_one[4] = {0x7f, 0, 0, 0};
    static const uint8_t garbage[] = {0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o'};
    struct buffer b;
    const struct {
        const void *p;
        size_t n;
    } bad[] = {{nothing, 4}, {long_one, 4}, {garbage, sizeof garbage}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int fd = connect_raw();
        assert_int_equal(send(fd, bad[i].p, bad[i].n, 0), bad[i].n);
        expect_ended(fd);
    }
    /* A head with a field too many, with a line end in its epoch, of size 0. */
    for (int i = 0; i < 3; i++) {
        int fd = connect_raw();
        uint8_t root[32] = {0};
        buffer_init(&b, 4096);
        size_t mark = local_begin(&b);
        wire_put_u64(&b, SIGNER_T_VERB, SIGNER_HEAD);
        wire_put_str(&b, SIGNER_T_MUNICIPALITY, MINATO);
        wire_put_str(&b, SIGNER_T_EPOCH, i == 1 ? "1\n2" : "1");
        wire_put_u64(&b, SIGNER_T_SIZE, i == 2 ? 0 : 1);
        wire_put(&b, SIGNER_T_ROOT, root, sizeof root);
        if (i == 0)
            wire_put_str(&b, SIGNER_T_NAME, "x");
        local_end(&b, mark);
        assert_int_equal(send(fd, b.data, b.len, 0), b.len);
        buffer_fini(&b);
        expect_ended(fd);
    }
    assert_int_equal(sign(MINATO, "1", 1, 1, NULL), VRS_OK); /* others do not notice */
}

static void test_a_foreign_uid_is_refused(void **state) {
    (void)state;
    stop();
    peer = geteuid() + 1;
    start();
    fresh_client();
    assert_int_equal(sign(MINATO, "1", 1, 1, NULL), ERR_SIGNER_AWAY);
    expect_ended(connect_raw());
}

static void test_away_is_told_at_once(void **state) {
    (void)state;
    stop();
    assert_int_equal(sign(MINATO, "1", 1, 1, NULL), ERR_SIGNER_AWAY);
    start();
    fresh_client();
    assert_int_equal(sign(MINATO, "1", 1, 1, NULL), VRS_OK);
    (void)stop_by(SIGKILL);
    start(); /* the client's connection broke: it asks once more by itself */
    assert_int_equal(sign(MINATO, "1", 2, 1, NULL), VRS_OK);
}

static void test_status(void **state) {
    (void)state;
    struct buffer text;
    buffer_init(&text, 1 << 16);
    assert_int_equal(sign(MINATO, "1", 1, 1, NULL), VRS_OK);
    assert_int_equal(signer_status(client, &text), VRS_OK);
    assert_non_null(strstr(buffer_cstr(&text), "facts=1\n"));
    assert_non_null(strstr(buffer_cstr(&text), "heads_total=1\n"));
    buffer_fini(&text);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_head_is_signed),
        TEST(test_contradictions_are_refused),
        TEST(test_restart_keeps_the_memory),
        TEST(test_a_kill_keeps_the_memory),
        TEST(test_a_power_loss_leaves_zeros),
        TEST(test_the_last_head_is_told),
        TEST(test_a_foreign_memory_refuses_the_start),
        TEST(test_many_heads_compact),
        TEST(test_rotation_keeps_old_keys),
        TEST(test_statements_of_the_closed_list),
        TEST(test_certificates),
        TEST(test_garbage_ends_the_connection),
        TEST(test_a_foreign_uid_is_refused),
        TEST(test_away_is_told_at_once),
        TEST(test_status),
    };
    log_init("test_signer", LOG_ERROR + 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
