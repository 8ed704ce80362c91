/* The number area behind its real socket: a forked server, vrs-server's client, raw messages. */
// needs: vrs-server/number/access.c vrs-server/number/message.c vrs-server/number/area.c
// needs: vrs-server/number/copy.c vrs-server/number/serve.c vrs-server/number/client.c
// needs: vrs-server/number/rotate.c vrs-server/number/carry.c
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/local.h"
#include "lib/log.h"
#include "lib/secret.h"
#include "lib/wire.h"
#include "ocr-ingest/coupon.h"
#include "vrs-server/number/access.h"
#include "vrs-server/number/serve.h"

enum { DEADLINE_MS = 20000, REGION_MAX = 64 << 20 };

#define KAGOSHIMA "462012"
#define MINATO "131032"

static const struct number_access registering = {"resident.register", "register", "clerk"};
static const struct number_access asking = {"inquire", "transfer_in", "clerk"};
static const struct number_access revealing = {"number.reveal", "certificate", "clerk-7"};

static char folder[64];
static pid_t server = -1;
static struct number_client *client;

/* What the server does when it comes to a moment; shared with it. */
enum action { GO_ON, STOP, KILL };
static struct orders {
    _Atomic int moment;
    _Atomic int action;
} * orders;

static const char *at(const char *name) {
    static char paths[8][160];
    static int i;
    i = (i + 1) % 8;
    (void)snprintf(paths[i], sizeof paths[i], "%s/%s", folder, name);
    return paths[i];
}

/* ---- the server */

static void obey(enum area_moment m) {
    if (atomic_load(&orders->moment) != (int)m)
        return;
    int action = atomic_exchange(&orders->action, GO_ON);
    if (action != GO_ON)
        (void)raise(action == STOP ? SIGSTOP : SIGKILL);
}

static void order(enum area_moment m, enum action a) {
    atomic_store(&orders->moment, (int)m);
    atomic_store(&orders->action, (int)a);
}

static struct keyring *open_keys(void) {
    struct vrs_fault fault = {0};
    struct keyring *ring = NULL;
    assert_int_equal(
        keyring_open(at("state/keys"), &kek_file, at("kek"), 1U << KEY_NUMBERS, &ring, &fault),
        VRS_OK);
    return ring;
}

static int run_server(int listener, size_t max_open) {
    struct vrs_fault fault = {0};
    struct keyring *ring = NULL;
    struct area *area = NULL;
    if (keyring_open(at("state/keys"), &kek_file, at("kek"), 1U << KEY_NUMBERS, &ring, &fault) !=
        VRS_OK)
        return 2;
    const struct area_options o = {
        .engine = &store_sqlite, .state_dir = at("state"), .keys = ring, .max_open = max_open};
    const struct serve_options s = {
        .peer_uid = geteuid(), .max_connections = 8, .facts = "facts=1\n"};
    area_moment_fn = obey;
    enum vrs_err e = area_open(&o, &area, &fault);
    if (e == VRS_OK)
        e = local_signals(&fault);
    if (e == VRS_OK)
        e = serve_run(listener, &s, area, &fault);
    area_close(&area);
    keyring_close(&ring);
    if (e != VRS_OK)
        log_fault(LOG_ERROR, "test.server", &fault);
    return e == VRS_OK ? 0 : 1;
}

static void start_limited(size_t max_open) {
    struct vrs_fault fault = {0};
    int listener;
    assert_int_equal(local_listen(at("sock"), (uid_t)-1, (gid_t)-1, &listener, &fault), VRS_OK);
    order(AREA_LOOKED, GO_ON);
    (void)fflush(NULL);
    server = fork();
    assert_true(server >= 0);
    if (server == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(run_server(listener, max_open));
    }
    (void)close(listener);
}

static void start(void) {
    start_limited(16);
}

static void stop(void) {
    int status;
    if (server < 0)
        return;
    (void)kill(server, SIGCONT);
    (void)kill(server, SIGTERM);
    assert_int_equal(waitpid(server, &status, 0), server);
    server = -1;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void expect_killed(void) {
    int status;
    assert_int_equal(waitpid(server, &status, 0), server);
    server = -1;
    assert_true(WIFSIGNALED(status));
}

static void expect_stopped(void) {
    int status;
    assert_int_equal(waitpid(server, &status, WUNTRACED), server);
    assert_true(WIFSTOPPED(status));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int setup(void **state) {
    (void)state;
    struct vrs_fault fault = {0};
    (void)snprintf(folder, sizeof folder, "/tmp/vrs-number-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(mkdir(at("kek"), 0700), 0);
    assert_int_equal(mkdir(at("state"), 0700), 0);
    assert_int_equal(kek_file_make(at("kek"), KEY_NUMBERS, &fault), VRS_OK);
    start();
    assert_int_equal(number_client_open(at("sock"), DEADLINE_MS, &client), VRS_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    number_client_close(&client);
    if (server >= 0) {
        (void)kill(server, SIGCONT);
        (void)kill(server, SIGKILL);
        (void)waitpid(server, NULL, 0);
        server = -1;
    }
    (void)nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}

/* ---- things to put */

static struct personal_number number_of(uint64_t eleven) {
    static const int weights[] = {6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2};
    struct personal_number n;
    int sum = 0;
    (void)snprintf(n.digits, sizeof n.digits, "%011llu0",
                   (unsigned long long)(eleven % 100000000000ULL));
    for (int i = 0; i < 11; i++)
        sum += (n.digits[i] - '0') * weights[i];
    int r = sum % 11;
    n.digits[11] = (char)('0' + (r <= 1 ? 0 : 11 - r));
    return n;
}

static struct personal_number random_number(void) {
    uint64_t v;
    crypto_random(&v, sizeof v);
    return number_of(v);
}

static struct record_id row_of(int i) {
    struct record_id id;
    memset(&id, 0, sizeof id);
    id.bytes[0] = 7;
    id.bytes[14] = (uint8_t)(i >> 8);
    id.bytes[15] = (uint8_t)i;
    return id;
}

static void put(const char *town, int row, const char *digits) {
    struct personal_number n;
    struct record_id id = row_of(row);
    (void)snprintf(n.digits, sizeof n.digits, "%s", digits);
    assert_int_equal(number_put(client, town, &id, &n, &registering), VRS_OK);
}

static enum vrs_err match(const char *town, const char *digits, struct record_id *row) {
    struct personal_number n;
    (void)snprintf(n.digits, sizeof n.digits, "%s", digits);
    return number_match(client, town, &n, &asking, row);
}

static uint64_t fact(const char *name) {
    struct buffer text;
    char key[64];
    buffer_init(&text, NUMBER_MAX_MESSAGE);
    assert_int_equal(number_status(client, &text), VRS_OK);
    (void)snprintf(key, sizeof key, "\n%s=", name);
    const char *all = buffer_cstr(&text);
    const char *found = strstr(all, key);
    if (found == NULL)
        fail_msg("no %s in %s", name, all);
    uint64_t v = strtoull(found + strlen(key), NULL, 10);
    buffer_fini(&text);
    return v;
}

static enum vrs_err collect_journal(struct record *r, void *arg) {
    (void)buffer_put(arg, r->text.data, r->text.len);
    (void)buffer_put(arg, "\n", 1);
    return VRS_OK;
}

/* Entries of the journal; the server must not run. */
static size_t journal(const char *town, struct buffer *text) {
    struct vrs_fault fault = {0};
    struct partition *p = NULL;
    struct keyring *ring = open_keys();
    assert_int_equal(partition_open(&store_sqlite, at("state/files"), town, ring, 0, &p, &fault),
                     VRS_OK);
    assert_int_equal(partition_begin(p), VRS_OK);
    assert_int_equal(record_scan(p, TABLE_JOURNAL, UINT32_MAX, 0, 1000, collect_journal, text),
                     VRS_OK);
    uint64_t n;
    assert_int_equal(store_sqlite.count(partition_store(p), TABLE_JOURNAL, UINT32_MAX, &n), VRS_OK);
    partition_rollback(p);
    partition_close(&p);
    keyring_close(&ring);
    return (size_t)n;
}

/* ---- the verbs */

/* C95: what comes out of a number is a row's random id. */
static void test_put_match_reveal_erase(void **state) {
    (void)state;
    struct record_id row, one = row_of(1), two = row_of(2);
    struct personal_number n, other = number_of(5);
    assert_int_equal(match(KAGOSHIMA, "123456789018", &row), ERR_NOT_FOUND);
    put(KAGOSHIMA, 1, "123456789018");
    put(KAGOSHIMA, 1, "123456789018"); /* the same again is the same */
    assert_int_equal(match(KAGOSHIMA, "123456789018", &row), VRS_OK);
    assert_true(record_id_equal(&row, &one));
    assert_int_equal(match(KAGOSHIMA, other.digits, &row), ERR_NOT_FOUND);
    assert_int_equal(number_put(client, KAGOSHIMA, &one, &other, &registering), ERR_CONFLICT);
    (void)snprintf(n.digits, sizeof n.digits, "123456789018");
    assert_int_equal(number_put(client, KAGOSHIMA, &two, &n, &registering), ERR_R183);
    /* Another municipality has its own row for the same number. */
    assert_int_equal(number_put(client, MINATO, &two, &n, &registering), VRS_OK);
    assert_int_equal(match(MINATO, "123456789018", &row), VRS_OK);
    assert_true(record_id_equal(&row, &two));

    assert_int_equal(number_reveal(client, KAGOSHIMA, &one, &revealing, &n), VRS_OK);
    assert_string_equal(n.digits, "123456789018");
    assert_int_equal(number_reveal(client, KAGOSHIMA, &two, &revealing, &n), ERR_NOT_FOUND);
    assert_int_equal(n.digits[0], 0);

    assert_int_equal(number_erase(client, KAGOSHIMA, &one), VRS_OK);
    assert_int_equal(number_erase(client, KAGOSHIMA, &one), VRS_OK);
    assert_int_equal(match(KAGOSHIMA, "123456789018", &row), ERR_NOT_FOUND);
    assert_int_equal(number_reveal(client, KAGOSHIMA, &one, &revealing, &n), ERR_NOT_FOUND);
    assert_int_equal(match(MINATO, "123456789018", &row), VRS_OK);
    /* The number is free for another row now. */
    put(KAGOSHIMA, 2, "123456789018");
    assert_int_equal(fact("matches_total"), 3);
    assert_int_equal(fact("misses_total"), 3);
    assert_int_equal(fact("reveals_total"), 1);

    stop();
    struct buffer text;
    buffer_init(&text, 1 << 16);
    assert_int_equal(journal(KAGOSHIMA, &text), 1);
    assert_non_null(memmem(text.data, text.len, "clerk-7", 7));
    assert_non_null(memmem(text.data, text.len, "certificate", 11));
    assert_non_null(memmem(text.data, text.len, one.bytes, sizeof one.bytes));
    assert_null(memmem(text.data, text.len, "12345678", 8));
    buffer_fini(&text);
    struct buffer none;
    buffer_init(&none, 64);
    assert_int_equal(journal(MINATO, &none), 0);
    buffer_fini(&none);
}

static void test_durable_over_a_kill(void **state) {
    (void)state;
    struct record_id row, one = row_of(1);
    put(KAGOSHIMA, 1, "123456789018");
    put(KAGOSHIMA, 2, "987654321093");
    assert_int_equal(number_erase(client, KAGOSHIMA, &one), VRS_OK);
    (void)kill(server, SIGKILL);
    expect_killed();
    assert_int_equal(match(KAGOSHIMA, "987654321093", &row), ERR_NUMBER_AWAY);
    start();
    assert_int_equal(match(KAGOSHIMA, "987654321093", &row), VRS_OK);
    assert_int_equal(match(KAGOSHIMA, "123456789018", &row), ERR_NOT_FOUND);
}

/* A restart between two calls is not seen by the caller. */
static void test_client_reconnects(void **state) {
    (void)state;
    struct record_id row;
    put(KAGOSHIMA, 1, "123456789018");
    stop();
    start();
    assert_int_equal(match(KAGOSHIMA, "123456789018", &row), VRS_OK);
    stop();
    assert_int_equal(match(KAGOSHIMA, "123456789018", &row), ERR_NUMBER_AWAY);
}

static void test_deadline(void **state) {
    (void)state;
    struct number_client *hasty;
    struct record_id row;
    struct personal_number n = number_of(9), there;
    (void)snprintf(there.digits, sizeof there.digits, "123456789018");
    assert_int_equal(number_client_open(at("sock"), 100, &hasty), VRS_OK);
    put(KAGOSHIMA, 1, "123456789018");
    order(AREA_LOOKED, STOP);
    assert_int_equal(number_match(hasty, KAGOSHIMA, &n, &asking, &row), ERR_UNKNOWN);
    expect_stopped();
    /* One that hangs holds a worker up once, not with every call. */
    int64_t began = clock_mono_ms();
    for (int i = 0; i < 20; i++)
        assert_int_equal(number_match(hasty, KAGOSHIMA, &there, &asking, &row), ERR_NUMBER_AWAY);
    assert_true(clock_mono_ms() - began < 1900); /* twenty waits are 2000 */
    (void)kill(server, SIGCONT);
    /* The late answer went to a connection that is no more. */
    int answered = 0;
    while (answered < 2 && clock_mono_ms() - began < 20000) {
        enum vrs_err e = number_match(hasty, KAGOSHIMA, &there, &asking, &row);
        assert_true(e == VRS_OK || e == ERR_NUMBER_AWAY || e == ERR_UNKNOWN);
        answered += e == VRS_OK;
    }
    assert_int_equal(answered, 2);
    number_client_close(&hasty);
}

/* C07, C51, C52: by right and purpose alone, before a file is opened. */
static void test_refused_without_look_up(void **state) {
    (void)state;
    struct record_id row, one = row_of(1);
    struct personal_number n;
    put(KAGOSHIMA, 1, "123456789018");
    (void)snprintf(n.digits, sizeof n.digits, "123456789018");
    static const struct {
        struct number_access why;
        enum vrs_err match, reveal, put;
    } table[] = {
        {{NULL, NULL, NULL}, ERR_FORBIDDEN, ERR_FORBIDDEN, ERR_FORBIDDEN},
        {{"", "transfer_in", "u"}, ERR_FORBIDDEN, ERR_FORBIDDEN, ERR_FORBIDDEN},
        {{"dose.read", "transfer_in", "u"}, ERR_FORBIDDEN, ERR_FORBIDDEN, ERR_FORBIDDEN},
        {{"inquire", NULL, "u"}, ERR_PURPOSE, ERR_FORBIDDEN, ERR_FORBIDDEN},
        {{"inquire", "curiosity", "u"}, ERR_PURPOSE, ERR_FORBIDDEN, ERR_FORBIDDEN},
        {{"inquire", "transfer_in", "u"}, VRS_OK, ERR_FORBIDDEN, ERR_FORBIDDEN},
        {{"inquire.bulk", "certificate", "u"}, ERR_PURPOSE, ERR_FORBIDDEN, ERR_FORBIDDEN},
        {{"number.search", "register", "u"}, ERR_PURPOSE, ERR_FORBIDDEN, ERR_FORBIDDEN},
        {{"number.search", "certificate", "u"}, VRS_OK, ERR_FORBIDDEN, ERR_FORBIDDEN},
        {{"number.reveal", "certificate", "u"}, ERR_FORBIDDEN, VRS_OK, ERR_FORBIDDEN},
        {{"number.reveal", "register", "u"}, ERR_FORBIDDEN, ERR_PURPOSE, ERR_FORBIDDEN},
        {{"number.reveal", "certificate", NULL}, ERR_FORBIDDEN, ERR_FORBIDDEN, ERR_FORBIDDEN},
        {{"resident.register", NULL, NULL}, ERR_PURPOSE, ERR_FORBIDDEN, VRS_OK},
        {{"resident.register", "*", "u"}, ERR_PURPOSE, ERR_FORBIDDEN, VRS_OK},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct personal_number out;
        const struct number_access *why = &table[i].why;
        assert_int_equal(number_match(client, KAGOSHIMA, &n, why, &row), table[i].match);
        assert_int_equal(number_reveal(client, KAGOSHIMA, &one, why, &out), table[i].reveal);
        assert_int_equal(number_put(client, KAGOSHIMA, &one, &n, why), table[i].put);
    }
    assert_true(fact("refused_total") > 0);
    struct number_access wordy = asking;
    char user[200];
    memset(user, 'x', sizeof user - 1);
    user[sizeof user - 1] = '\0';
    wordy.user = user;
    assert_int_equal(number_match(client, KAGOSHIMA, &n, &wordy, &row), ERR_BAD_FIELD);
}

/* Refused before a file could be made. */
static void test_bad_values(void **state) {
    (void)state;
    struct record_id row, one = row_of(1);
    struct personal_number n;
    static const char *const bad[] = {"123456789010", "000000000000", "12345678901", "",
                                      "12345678901a"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(n.digits, sizeof n.digits, "%s", bad[i]);
        assert_int_equal(number_put(client, KAGOSHIMA, &one, &n, &registering), ERR_R170);
        assert_int_equal(number_match(client, KAGOSHIMA, &n, &asking, &row), ERR_R170);
    }
    n = number_of(77);
    static const char *const towns[] = {"462013", "../etc", "46201", "4620121", ""};
    for (size_t i = 0; i < sizeof towns / sizeof *towns; i++) {
        assert_int_equal(number_put(client, towns[i], &one, &n, &registering),
                         ERR_NO_SUCH_MUNICIPALITY);
        assert_int_equal(number_backup(client, towns[i], "b"), ERR_NO_SUCH_MUNICIPALITY);
    }
    assert_int_equal(number_erase(client, KAGOSHIMA, &one), VRS_OK);
    assert_int_equal(fact("made_total"), 0);
    assert_int_equal(fact("opens_total"), 0);
    assert_int_not_equal(access(at("state/files/462012.db"), F_OK), 0);
}

struct listing {
    struct record_id rows[4000];
    size_t n;
    bool erase_odd;
};

static enum vrs_err list_one(const struct record_id *row, void *arg) {
    struct listing *l = arg;
    assert_true(l->n < sizeof l->rows / sizeof *l->rows);
    l->rows[l->n++] = *row;
    return l->erase_odd && l->n % 2 == 1 ? number_erase(client, KAGOSHIMA, row) : VRS_OK;
}

static void list_all(struct listing *l) {
    struct record_id last = {{0}};
    for (bool more = true; more;)
        assert_int_equal(number_list(client, KAGOSHIMA, &last, &more, list_one, l), VRS_OK);
}

static void test_many_and_list(void **state) {
    (void)state;
    enum { N = 3500 };
    struct record_id *rows = calloc(N, sizeof *rows);
    struct personal_number *numbers = calloc(N, sizeof *numbers);
    enum vrs_err *errs = calloc(N, sizeof *errs);
    struct listing *l = calloc(1, sizeof *l);
    assert_non_null(rows);
    assert_non_null(numbers);
    assert_non_null(errs);
    assert_non_null(l);
    list_all(l);
    assert_int_equal(l->n, 0);
    for (int i = 0; i < N; i++) {
        rows[i] = row_of(i);
        numbers[i] = number_of(1000 + (uint64_t)i);
    }
    numbers[17].digits[11] = numbers[17].digits[11] == '0' ? '1' : '0'; /* wrong check digit */
    numbers[18].digits[3] = '\0';
    numbers[19] = numbers[3];
    assert_int_not_equal(number_put_many(client, KAGOSHIMA, rows, numbers, N, &registering, errs),
                         VRS_OK);
    for (int i = 0; i < N; i++)
        assert_int_equal(errs[i], i == 17 || i == 18 ? ERR_R170 : i == 19 ? ERR_R183 : VRS_OK);
    /* Natural group commit: far fewer commits than puts. */
    assert_in_range(fact("commits_total"), 1, N / 10);
    struct record_id *found = calloc(N, sizeof *found);
    assert_non_null(found);
    number_match_many(client, KAGOSHIMA, numbers, N, &asking, found, errs);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(errs[i], i == 17 || i == 18 ? ERR_R170 : VRS_OK);
        if (errs[i] == VRS_OK)
            assert_memory_equal(&found[i], &rows[i == 19 ? 3 : i], sizeof *found);
    }
    number_match_many(client, MINATO, numbers, 3, &asking, found, errs);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(errs[i], ERR_NOT_FOUND);
    free(found);
    l->erase_odd = true;
    list_all(l);
    assert_int_equal(l->n, N - 3);
    for (size_t i = 1; i < l->n; i++)
        assert_true(memcmp(&l->rows[i - 1], &l->rows[i], sizeof *rows) < 0);
    l->n = 0;
    l->erase_odd = false;
    list_all(l);
    assert_int_equal(l->n, (N - 3) / 2);
    free(l);
    free(errs);
    free(numbers);
    free(rows);
}

static void test_few_open_files(void **state) {
    (void)state;
    struct record_id row;
    static const char *const towns[] = {"011002", "131032", "141003", "271004", "462012"};
    stop();
    start_limited(2);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 5; i++)
            put(towns[i], i, "123456789018");
    for (int i = 0; i < 5; i++) {
        struct record_id want = row_of(i);
        assert_int_equal(match(towns[i], "123456789018", &row), VRS_OK);
        assert_true(record_id_equal(&row, &want));
    }
    assert_int_equal(fact("open_files"), 2);
    assert_int_equal(fact("made_total"), 5);
}

static void test_backup_restore(void **state) {
    (void)state;
    struct record_id row, one = row_of(1);
    struct personal_number n;
    assert_int_equal(number_backup(client, KAGOSHIMA, "monday"), ERR_NOT_FOUND);
    put(KAGOSHIMA, 1, "123456789018");
    assert_int_equal(number_backup(client, KAGOSHIMA, "monday"), VRS_OK);
    assert_int_equal(number_backup(client, KAGOSHIMA, "monday"), ERR_CONFLICT);
    assert_int_equal(number_backup(client, KAGOSHIMA, "../monday"), ERR_BAD_FIELD);
    assert_int_equal(number_backup(client, KAGOSHIMA, ".monday"), ERR_BAD_FIELD);
    put(KAGOSHIMA, 2, "987654321093");
    assert_int_equal(number_reveal(client, KAGOSHIMA, &one, &revealing, &n), VRS_OK);
    assert_int_equal(number_restore(client, KAGOSHIMA, "sunday"), ERR_NOT_FOUND);
    assert_int_equal(match(KAGOSHIMA, "987654321093", &row), VRS_OK);
    assert_int_equal(number_restore(client, KAGOSHIMA, "monday"), VRS_OK);
    assert_int_equal(match(KAGOSHIMA, "123456789018", &row), VRS_OK);
    assert_int_equal(match(KAGOSHIMA, "987654321093", &row), ERR_NOT_FOUND);
    stop();
    struct buffer text;
    buffer_init(&text, 1 << 16);
    assert_int_equal(journal(KAGOSHIMA, &text), 1); /* A4 */
    buffer_fini(&text);

    /* The disk is lost: the backup brings its keys. */
    assert_int_equal(unlink(at("state/files/462012.db")), 0);
    (void)unlink(at("state/files/462012.db-wal"));
    assert_int_equal(unlink(at("state/keys/462012.keys")), 0);
    start();
    assert_int_equal(match(KAGOSHIMA, "123456789018", &row), ERR_NOT_FOUND);
    assert_int_equal(number_restore(client, KAGOSHIMA, "monday"), VRS_OK);
    assert_int_equal(match(KAGOSHIMA, "123456789018", &row), VRS_OK);

    /* A backup that does not open leaves the present file as it is. */
    put(KAGOSHIMA, 2, "987654321093");
    int fd = open(at("state/backup/462012-monday.db"), O_RDWR);
    assert_true(fd >= 0);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    char *all = malloc((size_t)st.st_size);
    assert_non_null(all);
    assert_int_equal(pread(fd, all, (size_t)st.st_size, 0), st.st_size);
    for (char *p = all; (p = memmem(p, (size_t)(all + st.st_size - p), one.bytes, 16)) != NULL;)
        p[15] ^= 1;
    assert_int_equal(pwrite(fd, all, (size_t)st.st_size, 0), st.st_size);
    free(all);
    (void)close(fd);
    assert_int_not_equal(number_restore(client, KAGOSHIMA, "monday"), VRS_OK);
    assert_int_equal(match(KAGOSHIMA, "987654321093", &row), VRS_OK);
}

/* ---- S5: new keys */

static void numbers_are_there(size_t count) {
    struct record_id row, want;
    for (size_t i = 1; i <= count; i++) {
        struct personal_number n;
        want = row_of((uint8_t)i);
        assert_int_equal(number_reveal(client, KAGOSHIMA, &want, &revealing, &n), VRS_OK);
        assert_int_equal(match(KAGOSHIMA, n.digits, &row), VRS_OK);
        assert_memory_equal(row.bytes, want.bytes, sizeof row.bytes);
        struct record_id other = row_of((uint8_t)(100 + i)); /* held once, under either key */
        assert_int_equal(number_put(client, KAGOSHIMA, &other, &n, &registering), ERR_R183);
        secret_wipe(&n, sizeof n);
    }
}

static bool under_way(const struct number_rotation *r) {
    return (r->of[0].phase != 0 && r->of[0].phase != ROTATE_DONE) ||
           (r->of[1].phase != 0 && r->of[1].phase != ROTATE_DONE);
}

/* The whole of it, with the server killed at a moment of every step, if wanted. */
static void rotate(const char *what, int moment) {
    struct number_rotation r;
    assert_int_equal(number_rotate(client, KAGOSHIMA, what, "operator", &r), VRS_OK);
    assert_true(under_way(&r));
    for (int steps = 0; under_way(&r); steps++) {
        assert_true(steps < 50);
        bool clean = r.of[0].phase == ROTATE_CLEAN || r.of[1].phase == ROTATE_CLEAN;
        if (moment >= 0) {
            order((enum area_moment)moment, KILL);
            enum vrs_err e = number_rotate(client, KAGOSHIMA, "destroy", "operator", &r);
            assert_true(e == ERR_UNKNOWN || e == ERR_NUMBER_AWAY);
            expect_killed();
            start();
            numbers_are_there(3);
        }
        assert_int_equal(
            number_rotate(client, KAGOSHIMA, clean ? "destroy" : "step", "operator", &r), VRS_OK);
        numbers_are_there(3);
        if (r.of[0].phase == ROTATE_CLEAN ||
            r.of[1].phase == ROTATE_CLEAN) { /* waits for its log */
            assert_int_equal(number_rotate(client, KAGOSHIMA, "step", "operator", &r), VRS_OK);
            assert_true(r.of[0].phase == ROTATE_CLEAN || r.of[1].phase == ROTATE_CLEAN);
        }
    }
}

static size_t keys_in(enum key_state wanted) {
    struct key_info info[32];
    struct keyring *ring = open_keys();
    size_t n = keyring_list(ring, KAGOSHIMA, info, 32), found = 0;
    for (size_t i = 0; i < n && i < 32; i++)
        found += info[i].state == wanted;
    keyring_close(&ring);
    return found;
}

static void test_keys_rotate(void **state) {
    (void)state;
    struct number_rotation r;
    assert_int_equal(number_rotate(client, KAGOSHIMA, "data", "operator", &r), ERR_NOT_FOUND);
    put(KAGOSHIMA, 1, "123456789018");
    put(KAGOSHIMA, 2, "987654321093");
    put(KAGOSHIMA, 3, "111111111118");
    assert_int_equal(number_rotate(client, KAGOSHIMA, "surprise", "operator", &r), ERR_BAD_FIELD);
    assert_int_equal(number_rotate(client, KAGOSHIMA, "status", "operator", &r), VRS_OK);
    assert_true(r.of[0].phase == 0 && r.of[1].phase == 0 && r.keys_under_previous_kek == 0);
    rotate("data", -1);
    rotate("index", -1);
    stop();
    assert_int_equal(keys_in(KEY_ACTIVE), 2);
    assert_int_equal(keys_in(KEY_DESTROYED), 2);
    start();
    numbers_are_there(3);
    static const enum area_moment moments[] = {AREA_COMMITTING, AREA_COMMITTED};
    for (int i = 0; i < 2; i++) {
        rotate("data", (int)moments[i]);
        rotate("index", (int)moments[i]);
    }
    stop();
    assert_int_equal(keys_in(KEY_ACTIVE), 2);
    assert_int_equal(keys_in(KEY_DESTROYED), 6);
    start();
    numbers_are_there(3);
}

/* A backup from before a rotation comes back under the keys of now; without them, it stays away. */
static void test_restore_over_a_rotation(void **state) {
    (void)state;
    struct record_id row;
    put(KAGOSHIMA, 1, "123456789018");
    assert_int_equal(number_backup(client, KAGOSHIMA, "before"), VRS_OK);
    put(KAGOSHIMA, 2, "987654321093");
    for (int i = 0; i < 2; i++) {
        struct number_rotation all;
        assert_int_equal(
            number_rotate(client, KAGOSHIMA, i == 0 ? "data" : "index", "operator", &all), VRS_OK);
        while (under_way(&all))
            assert_int_equal(number_rotate(client, KAGOSHIMA, "destroy", "operator", &all), VRS_OK);
    }
    struct number_rotation r;
    assert_int_equal(number_rotate(client, KAGOSHIMA, "data", "operator", &r), VRS_OK);
    assert_int_equal(number_rotate(client, KAGOSHIMA, "step", "operator", &r), VRS_OK);
    assert_int_equal(number_restore(client, KAGOSHIMA, "before"), VRS_OK);
    assert_int_equal(match(KAGOSHIMA, "123456789018", &row), VRS_OK);
    assert_int_equal(match(KAGOSHIMA, "987654321093", &row), ERR_NOT_FOUND);
    for (int i = 0; i < 20 && r.of[0].phase != ROTATE_DONE; i++) /* what was under way ends */
        assert_int_equal(number_rotate(client, KAGOSHIMA, "destroy", "operator", &r), VRS_OK);
    assert_int_equal(r.of[0].phase, ROTATE_DONE);
    assert_int_equal(match(KAGOSHIMA, "123456789018", &row), VRS_OK);
}

/* ---- raw messages */

static int raw_connect(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", at("sock"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    const struct timeval patience = {.tv_sec = 20};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

static void frame(struct buffer *out, const struct buffer *message) {
    const uint8_t head[] = {(uint8_t)(message->len >> 24), (uint8_t)(message->len >> 16),
                            (uint8_t)(message->len >> 8), (uint8_t)message->len};
    (void)buffer_put(out, head, sizeof head);
    (void)buffer_put(out, message->data, message->len);
}

static void raw_match(struct buffer *out, uint64_t id, const char *town, const char *digits) {
    struct buffer m;
    buffer_init(&m, 4096);
    wire_put_u64(&m, NUMBER_T_VERB, NUMBER_MATCH);
    wire_put_u64(&m, NUMBER_T_ID, id);
    wire_put_str(&m, NUMBER_T_MUNICIPALITY, town);
    wire_put_str(&m, NUMBER_T_NUMBER, digits);
    wire_put_str(&m, NUMBER_T_RIGHT, "inquire");
    wire_put_str(&m, NUMBER_T_PURPOSE, "transfer_in");
    frame(out, &m);
    buffer_fini(&m);
}

/* Reads one answer's error name; false at the end of the connection. */
static bool raw_answer(int fd, uint64_t *id, char *error, size_t cap) {
    uint8_t head[4], body[1024];
    *id = 0;
    error[0] = '\0';
    if (recv(fd, head, sizeof head, MSG_WAITALL) != sizeof head)
        return false;
    size_t n = (size_t)head[2] << 8 | head[3];
    assert_in_range(n, 1, sizeof body);
    assert_int_equal(recv(fd, body, n, MSG_WAITALL), n);
    struct wire_reader r;
    struct wire_field f;
    bool more;
    uint64_t verb;
    wire_open(&r, body, n);
    assert_int_equal(wire_next(&r, &f, &more), VRS_OK);
    assert_true(f.tag == NUMBER_T_VERB && wire_u64(&f, &verb) && verb == NUMBER_ANSWER);
    assert_int_equal(wire_next(&r, &f, &more), VRS_OK);
    assert_true(f.tag == NUMBER_T_ID && wire_u64(&f, id));
    assert_int_equal(wire_next(&r, &f, &more), VRS_OK);
    assert_true(f.tag == NUMBER_T_ERR && wire_str(&f, error, cap));
    return true;
}

static void test_bad_messages_end_the_connection(void **state) {
    (void)state;
    struct buffer m, all;
    put(KAGOSHIMA, 1, "123456789018");
    buffer_init(&m, 4096);
    buffer_init(&all, 1 << 18);
    enum { CASES = 12 };
    for (int i = 0; i < CASES; i++) {
        buffer_clear(&m);
        buffer_clear(&all);
        if (i != 0)
            wire_put_u64(&m, NUMBER_T_VERB, i == 1 ? 99 : i == 2 ? NUMBER_ANSWER : NUMBER_MATCH);
        if (i != 3)
            wire_put_u64(&m, NUMBER_T_ID, 1);
        wire_put_str(&m, NUMBER_T_MUNICIPALITY, i == 4 ? "46201" : KAGOSHIMA);
        wire_put_str(&m, NUMBER_T_NUMBER, i == 5 ? "12345678901" : "123456789018");
        if (i == 6)
            wire_put_str(&m, NUMBER_T_NUMBER, "123456789018"); /* twice */
        if (i == 7)
            wire_put_str(&m, NUMBER_T_NAME, "x"); /* not of this verb */
        if (i == 8)
            wire_put_str(&m, 200, "x"); /* unknown */
        if (i == 9)
            (void)buffer_put(&m, "\x01\xff", 2);        /* no field */
        raw_match(&all, 41, KAGOSHIMA, "123456789018"); /* the one before it is answered */
        if (i == 10)
            (void)buffer_put(&all, "\0\0\0\0", 4);
        else if (i == 11)
            (void)buffer_put(&all, "\0\1\0\1", 4);
        else
            frame(&all, &m);
        int fd = raw_connect();
        uint64_t id;
        char error[40];
        assert_int_equal(send(fd, all.data, all.len, MSG_NOSIGNAL), all.len);
        assert_true(raw_answer(fd, &id, error, sizeof error));
        assert_int_equal(id, 41);
        assert_string_equal(error, "ok");
        assert_false(raw_answer(fd, &id, error, sizeof error));
        (void)close(fd);
    }
    assert_int_equal(fact("bad_messages_total"), CASES);
    buffer_fini(&all);
    buffer_fini(&m);
}

/* One byte at a time, then many at once without reading: all answered, in order. */
static void test_framing_and_pipelining(void **state) {
    (void)state;
    enum { MANY = 6000 };
    struct buffer all;
    uint64_t id;
    char error[40];
    put(KAGOSHIMA, 1, "123456789018");
    buffer_init(&all, 4 << 20);
    raw_match(&all, 5, KAGOSHIMA, "123456789018");
    int fd = raw_connect();
    for (size_t i = 0; i < all.len; i++)
        assert_int_equal(send(fd, all.data + i, 1, MSG_NOSIGNAL), 1);
    assert_true(raw_answer(fd, &id, error, sizeof error));
    assert_int_equal(id, 5);

    buffer_clear(&all);
    for (uint64_t i = 0; i < MANY; i++)
        raw_match(&all, i, i % 2 == 0 ? KAGOSHIMA : MINATO, "123456789018");
    assert_false(all.failed);
    pid_t writer = fork();
    assert_true(writer >= 0);
    if (writer == 0) {
        size_t sent = 0;
        while (sent < all.len) {
            ssize_t n = send(fd, all.data + sent, all.len - sent, MSG_NOSIGNAL);
            if (n <= 0)
                _exit(1);
            sent += (size_t)n;
        }
        _exit(0);
    }
    for (uint64_t i = 0; i < MANY; i++) {
        assert_true(raw_answer(fd, &id, error, sizeof error));
        assert_int_equal(id, i);
        assert_string_equal(error, i % 2 == 0 ? "ok" : "not_found");
    }
    int status;
    assert_int_equal(waitpid(writer, &status, 0), writer);
    assert_int_equal(status, 0);
    (void)close(fd);
    buffer_fini(&all);
}

/* A client that asks and never reads is stopped by its own unread answers; others are served. */
static void test_unread_answers_are_bounded(void **state) {
    (void)state;
    struct buffer m, all;
    struct record_id row;
    put(KAGOSHIMA, 1, "123456789018");
    buffer_init(&m, 4096);
    buffer_init(&all, 1 << 20);
    wire_put_u64(&m, NUMBER_T_VERB, NUMBER_STATUS);
    wire_put_u64(&m, NUMBER_T_ID, 1);
    for (int i = 0; i < 1000; i++)
        frame(&all, &m);
    int fd = raw_connect();
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    size_t taken = 0;
    for (int idle = 0; idle < 50;) {
        ssize_t n = send(fd, all.data, all.len, MSG_NOSIGNAL);
        if (n > 0)
            taken += (size_t)n - (size_t)n % (m.len + 4), idle = 0;
        else
            idle++;
        if (n > 0 && (size_t)n % (m.len + 4) != 0)
            break; /* the rest of a message would follow: enough was sent */
        assert_int_equal(match(KAGOSHIMA, "123456789018", &row), VRS_OK);
        assert_true(taken < 64U << 20);
    }
    assert_int_equal(match(KAGOSHIMA, "123456789018", &row), VRS_OK);
    (void)close(fd);
    assert_int_equal(match(KAGOSHIMA, "123456789018", &row), VRS_OK);
    buffer_fini(&all);
    buffer_fini(&m);
}

static void test_connections_are_bounded(void **state) {
    (void)state;
    int fds[12];
    put(KAGOSHIMA, 1, "123456789018");
    number_client_close(&client);
    for (int i = 0; i < 12; i++)
        fds[i] = raw_connect();
    for (int i = 0; i < 12; i++)
        (void)close(fds[i]);
    assert_int_equal(number_client_open(at("sock"), DEADLINE_MS, &client), VRS_OK);
    uint64_t n = 8;
    for (int i = 0; i < 10000 && n != 1; i++) /* each call is a round of the server */
        assert_in_range(n = fact("connections"), 1, 8);
    assert_int_equal(n, 1);
}

static void test_foreign_uid_is_refused(void **state) {
    (void)state;
    if (geteuid() != 0) {
        print_message("foreign uid: needs root\n");
        skip();
    }
    put(KAGOSHIMA, 1, "123456789018");
    assert_int_equal(chmod(folder, 0755), 0);
    struct stat st;
    assert_int_equal(stat(at("sock"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    assert_int_equal(chmod(at("sock"), 0666), 0); /* only the credentials are in the way */
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct number_client *c;
        struct buffer text;
        buffer_init(&text, NUMBER_MAX_MESSAGE);
        if (setgid(54321) != 0 || setuid(54321) != 0 ||
            number_client_open(at("sock"), 3000, &c) != VRS_OK)
            _exit(99);
        enum vrs_err e = number_status(c, &text);
        _exit(e == ERR_UNKNOWN || e == ERR_NUMBER_AWAY ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(fact("refused_peers_total") >= 1);
    /* The control: the same call by the right uid. */
    struct buffer text;
    buffer_init(&text, NUMBER_MAX_MESSAGE);
    assert_int_equal(number_status(client, &text), VRS_OK);
    assert_int_equal(strncmp(buffer_cstr(&text), "facts=1\n", 8), 0);
    assert_non_null(strstr(buffer_cstr(&text), "journal_mode"));
    buffer_fini(&text);
}

static void test_listen(void **state) {
    (void)state;
    struct vrs_fault fault = {0};
    int fd;
    char path[200];
    assert_int_equal(local_listen(at("kek"), (uid_t)-1, (gid_t)-1, &fd, &fault), ERR_CONFIG);
    assert_int_equal(local_listen("", (uid_t)-1, (gid_t)-1, &fd, &fault), ERR_CONFIG);
    memset(path, 'a', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(local_listen(path, (uid_t)-1, (gid_t)-1, &fd, &fault), ERR_CONFIG);
    assert_int_equal(local_listen(at("none/sock"), (uid_t)-1, (gid_t)-1, &fd, &fault), ERR_IO);
    assert_int_equal(number_client_open(path, 1, &(struct number_client *){NULL}), ERR_CONFIG);
}

/* ---- the journal before the number */

static void reveal_and_kill(enum area_moment m, size_t entries) {
    struct record_id one = row_of(1);
    struct personal_number n;
    struct buffer text;
    put(KAGOSHIMA, 1, "123456789018");
    order(m, KILL);
    assert_int_equal(number_reveal(client, KAGOSHIMA, &one, &revealing, &n), ERR_UNKNOWN);
    assert_int_equal(n.digits[0], 0);
    expect_killed();
    buffer_init(&text, 1 << 16);
    assert_int_equal(journal(KAGOSHIMA, &text), entries);
    buffer_fini(&text);
}

static void test_killed_before_the_journal(void **state) {
    (void)state;
    reveal_and_kill(AREA_COMMITTING, 0);
}

static void test_killed_after_the_journal(void **state) {
    (void)state;
    reveal_and_kill(AREA_COMMITTED, 1);
}

static enum vrs_err commit_answers;

static enum vrs_err bad_commit(struct store *s) {
    store_sqlite.rollback(s);
    return commit_answers;
}

static enum vrs_err bad_begin(struct store *s) {
    (void)s;
    return ERR_STORAGE;
}

static void ask(struct area *a, struct number_request *r, enum number_verb verb,
                const struct number_access *why, const char *digits) {
    memset(r, 0, sizeof *r);
    buffer_init(&r->fields, NUMBER_MAX_MESSAGE);
    r->verb = verb;
    r->id = 9;
    r->row = row_of(1);
    r->has_row = true;
    (void)snprintf(r->municipality, sizeof r->municipality, KAGOSHIMA);
    (void)snprintf(r->right, sizeof r->right, "%s", why->right);
    (void)snprintf(r->purpose, sizeof r->purpose, "%s", why->purpose);
    (void)snprintf(r->user, sizeof r->user, "%s", why->user);
    (void)snprintf(r->number.digits, sizeof r->number.digits, "%s", digits);
    struct number_request *one[] = {r};
    area_run(a, one, 1);
}

/* The three outcomes of a commit reach the asker; without a journal entry nothing is revealed. */
static void test_failed_commits(void **state) {
    (void)state;
    static const char digits[] = "123456789018";
    struct store_engine engine = store_sqlite;
    struct vrs_fault fault = {0};
    struct area *a;
    struct number_request r;
    struct buffer out;
    struct keyring *ring = open_keys();
    const struct area_options o = {
        .engine = &engine, .state_dir = at("state"), .keys = ring, .max_open = 2};
    buffer_init(&out, NUMBER_MAX_MESSAGE);
    assert_int_equal(area_open(&o, &a, &fault), VRS_OK);
    ask(a, &r, NUMBER_PUT, &registering, digits);
    assert_int_equal(r.err, VRS_OK);
    number_request_fini(&r);
    static const struct {
        enum vrs_err commit, reveal;
    } table[] = {{ERR_STORAGE, ERR_LOG_UNWRITABLE}, {ERR_UNKNOWN, ERR_UNKNOWN}};
    for (size_t i = 0; i < 2; i++) {
        commit_answers = table[i].commit;
        engine.commit = bad_commit;
        ask(a, &r, NUMBER_REVEAL, &revealing, "");
        assert_int_equal(r.err, table[i].reveal);
        number_answer_write(&r, &out);
        assert_null(memmem(out.data, out.len, digits, 12));
        number_request_fini(&r);
        ask(a, &r, NUMBER_ERASE, &revealing, "");
        assert_int_equal(r.err, table[i].commit);
        number_request_fini(&r);
        ask(a, &r, NUMBER_MATCH, &asking, digits); /* needs no commit */
        assert_int_equal(r.err, VRS_OK);
        number_request_fini(&r);
        engine = store_sqlite;
    }
    engine.begin = bad_begin;
    ask(a, &r, NUMBER_REVEAL, &revealing, "");
    assert_int_equal(r.err, ERR_LOG_UNWRITABLE);
    number_request_fini(&r);
    ask(a, &r, NUMBER_MATCH, &asking, digits);
    assert_int_equal(r.err, ERR_STORAGE);
    number_request_fini(&r);
    engine = store_sqlite;
    ask(a, &r, NUMBER_REVEAL, &revealing, "");
    assert_int_equal(r.err, VRS_OK);
    assert_non_null(memmem(r.fields.data, r.fields.len, digits, 12));
    number_request_fini(&r);
    area_close(&a);
    keyring_close(&ring);
    buffer_fini(&out);
}

static unsigned rests, favours;

static void note_rest(struct store *s) {
    rests++;
    store_sqlite.rest(s);
}

static void note_favour(struct store *s, bool on) {
    favours += on;
    store_sqlite.favour(s, on);
}

/* A sweep goes through the whole nation: it leaves no cache in every room. */
static void test_a_listed_room_rests(void **state) {
    (void)state;
    struct store_engine engine = store_sqlite;
    struct vrs_fault fault = {0};
    struct area *a;
    struct number_request r;
    struct keyring *ring = open_keys();
    const struct area_options o = {
        .engine = &engine, .state_dir = at("state"), .keys = ring, .max_open = 2};
    engine.rest = note_rest;
    engine.favour = note_favour;
    rests = favours = 0;
    assert_int_equal(area_open(&o, &a, &fault), VRS_OK);
    ask(a, &r, NUMBER_PUT, &registering, "123456789018");
    assert_int_equal(r.err, VRS_OK);
    number_request_fini(&r);
    assert_int_equal(rests, 0);
    area_close(&a);
    assert_int_equal(area_open(&o, &a, &fault), VRS_OK);
    for (unsigned page = 1; page <= 3; page++) {
        ask(a, &r, NUMBER_LIST, &registering, "");
        assert_int_equal(r.err, VRS_OK);
        number_request_fini(&r);
        assert_int_equal(rests, page);
    }
    assert_int_equal(favours, 0);
    for (int i = 0; i < 2; i++) {
        ask(a, &r, NUMBER_MATCH, &asking, "123456789018");
        assert_int_equal(r.err, VRS_OK);
        number_request_fini(&r);
    }
    assert_int_equal(favours, 1);
    assert_int_equal(rests, 3);
    area_close(&a);
    keyring_close(&ring);
}

/* ---- what a look-up leaves */

static int compare_lines(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *lines[256];
static size_t line_count;

static int describe_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)ftw;
    uint8_t hash[CRYPTO_HASH_BYTES] = {0};
    char hex[2 * CRYPTO_HASH_BYTES + 1];
    if (type == FTW_F && S_ISREG(st->st_mode)) {
        int fd = open(path, O_RDONLY | O_NOATIME);
        static uint8_t all[1 << 21];
        ssize_t n = fd < 0 ? -1 : read(fd, all, sizeof all);
        if (n != st->st_size)
            return 1;
        crypto_sha256(all, (size_t)n, hash);
        (void)close(fd);
    }
    crypto_hex(hash, sizeof hash, hex);
    if (line_count == sizeof lines / sizeof *lines)
        return 1;
    return asprintf(&lines[line_count++], "%s %o %lld %lld.%09ld %s\n", path, st->st_mode,
                    (long long)st->st_size, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
                    hex) < 0;
}

/* Names, modes, sizes, modification times and bytes of everything in the state folder. */
static void describe(struct buffer *out) {
    line_count = 0;
    assert_int_equal(nftw(at("state"), describe_one, 8, FTW_PHYS), 0);
    qsort(lines, line_count, sizeof *lines, compare_lines);
    buffer_clear(out);
    for (size_t i = 0; i < line_count; i++) {
        (void)buffer_puts(out, lines[i]);
        free(lines[i]);
    }
    assert_false(out->failed);
}

static void test_a_miss_touches_no_file(void **state) {
    (void)state;
    struct buffer before, after;
    struct record_id row;
    buffer_init(&before, 1 << 20);
    buffer_init(&after, 1 << 20);
    put(KAGOSHIMA, 1, "123456789018");
    for (int fresh = 0; fresh < 2; fresh++) {
        if (fresh == 1) { /* the look-up opens the file */
            stop();
            start();
        }
        (void)fact("open_files");
        describe(&before);
        assert_true(before.len > 0);
        for (int i = 0; i < 20; i++) {
            struct personal_number n = random_number();
            assert_int_equal(match(KAGOSHIMA, n.digits, &row), ERR_NOT_FOUND);
            assert_int_equal(match(MINATO, n.digits, &row), ERR_NOT_FOUND);
            assert_int_equal(match(MINATO, "123456789018", &row), ERR_NOT_FOUND);
        }
        describe(&after);
        assert_string_equal(buffer_cstr(&before), buffer_cstr(&after));
    }
    stop(); /* nor does closing */
    describe(&after);
    assert_string_equal(buffer_cstr(&before), buffer_cstr(&after));
    assert_int_not_equal(access(at("state/keys/131032.keys"), F_OK), 0);
    /* The control: a put is seen. */
    start();
    put(KAGOSHIMA, 2, "987654321093");
    describe(&after);
    assert_string_not_equal(buffer_cstr(&before), buffer_cstr(&after));
    buffer_fini(&after);
    buffer_fini(&before);
}

/* All that the process can write to: heap, stack, data, anonymous maps. */
static void read_memory(pid_t pid, struct buffer *out) {
    char path[64], line[512];
    (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    (void)snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
    int mem = open(path, O_RDONLY | O_CLOEXEC);
    if (maps == NULL || mem < 0)
        skip(); /* no tracing here */
    buffer_clear(out);
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to;
        char rights[5];
        if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) != 3 || rights[1] != 'w' ||
            rights[3] == 's' || to - from > REGION_MAX)
            continue;
        for (unsigned long p = from; p < to; p += 4096) {
            uint8_t page[4096];
            if (pread(mem, page, sizeof page, (off_t)p) == sizeof page)
                (void)buffer_put(out, page, sizeof page);
        }
    }
    (void)fclose(maps);
    (void)close(mem);
    assert_false(out->failed);
    assert_true(out->len > 100000);
}

/* Forms of a number that copies and hash functions make: digits, and digits turned round within
 * 32-bit words as SHA-256 loads them, at each alignment; 8 of the 12 digits are enough. */
static int forms_found(const struct buffer *memory, const char *digits, bool tell) {
    enum { ROUND = 24 };
    int found = 0;
    for (int o = 0; o + 8 <= 12; o++) {
        char form[2][8];
        for (int i = 0; i < 8; i++) {
            form[0][i] = digits[o + i];
            form[1][i] = digits[o + (i & 4) + 3 - (i & 3)];
        }
        for (int turned = 0; turned < 2; turned++) {
            const uint8_t *at = memmem(memory->data, memory->len, form[turned], 8);
            found += at != NULL;
            if (!tell || at == NULL || at < memory->data + ROUND ||
                at + ROUND > memory->data + memory->len)
                continue;
            char around[4 * ROUND + 1];
            for (int i = 0; i < 2 * ROUND; i++)
                (void)snprintf(around + 2 * i, 3, "%02x", at[i - ROUND]);
            print_error("from digit %d%s, %zx of a page: %s\n", o, turned ? ", turned" : "",
                        (size_t)(at - memory->data) % 4096, around);
        }
    }
    return found;
}

/* One that the server's memory does not hold by chance, nor from before it was forked: the test's own
 * freed numbers, which sanitisers keep, have a part of every thousandth random one. */
static struct personal_number unheard_of(void) {
    struct buffer before;
    struct personal_number n;
    buffer_init(&before, 1U << 30);
    (void)kill(server, SIGSTOP);
    expect_stopped();
    read_memory(server, &before);
    (void)kill(server, SIGCONT);
    do
        n = random_number();
    while (forms_found(&before, n.digits, false) > 0);
    buffer_fini(&before);
    return n;
}

static void blind_of(const char *town, const char *digits, struct store_index *out) {
    struct vrs_fault fault = {0};
    struct partition *p = NULL;
    struct keyring *ring = open_keys();
    assert_int_equal(partition_open(&store_sqlite, at("state/files"), town, ring, 0, &p, &fault),
                     VRS_OK);
    assert_int_equal(partition_blind(p, "number", digits, 12, out), VRS_OK);
    partition_close(&p);
    keyring_close(&ring);
}

static void memory_after_a_miss(bool rotating) {
    struct buffer flight, after, all;
    struct store_index blind;
    uint64_t id;
    char error[40];
    put(KAGOSHIMA, 1, "123456789018");
    if (rotating) { /* two index keys: a miss makes two forms of the number */
        struct number_rotation r;
        assert_int_equal(number_rotate(client, KAGOSHIMA, "index", "operator", &r), VRS_OK);
        assert_int_equal(number_rotate(client, KAGOSHIMA, "step", "operator", &r), VRS_OK);
        assert_int_equal(r.of[1].phase, ROTATE_WALKING);
    }
    (void)fact("open_files");
    buffer_init(&flight, 1U << 30);
    buffer_init(&after, 1U << 30);
    buffer_init(&all, 4096);
    struct personal_number n = unheard_of();
    raw_match(&all, 1, KAGOSHIMA, n.digits);
    int fd = raw_connect();
    order(AREA_LOOKED, STOP);
    assert_int_equal(send(fd, all.data, all.len, MSG_NOSIGNAL), all.len);
    expect_stopped();
    read_memory(server, &flight);
    (void)kill(server, SIGCONT);
    assert_true(raw_answer(fd, &id, error, sizeof error));
    assert_string_equal(error, "not_found");
    (void)kill(server, SIGSTOP);
    expect_stopped();
    read_memory(server, &after);
    stop();
    assert_true(forms_found(&flight, n.digits, false) > 0); /* the positive control */
    assert_int_equal(forms_found(&after, n.digits, true), 0);
    blind_of(KAGOSHIMA, n.digits, &blind);
    assert_null(memmem(after.data, after.len, blind.bytes + 2, PARTITION_MAC_BYTES));
    assert_int_equal(blind.old_len, rotating ? PARTITION_BLIND_BYTES : 0);
    if (rotating)
        assert_null(memmem(after.data, after.len, blind.old + 2, PARTITION_MAC_BYTES));
    (void)close(fd);
    buffer_fini(&all);
    buffer_fini(&after);
    buffer_fini(&flight);
}

static void test_memory_after_a_miss(void **state) {
    (void)state;
    memory_after_a_miss(false);
}

static void test_memory_after_a_miss_while_keys_rotate(void **state) {
    (void)state;
    memory_after_a_miss(true);
}

/* Nor does what is stored or revealed stay readable, once the answer is sent. */
static void test_memory_after_put_and_reveal(void **state) {
    (void)state;
    struct buffer memory;
    (void)fact("connections");
    struct personal_number n = unheard_of(), out;
    struct record_id row, one = row_of(1);
    buffer_init(&memory, 1U << 30);
    put(KAGOSHIMA, 1, n.digits);
    assert_int_equal(match(KAGOSHIMA, n.digits, &row), VRS_OK);
    assert_int_equal(number_reveal(client, KAGOSHIMA, &one, &revealing, &out), VRS_OK);
    assert_string_equal(out.digits, n.digits);
    (void)fact("connections"); /* the round that sent it is over */
    (void)kill(server, SIGSTOP);
    expect_stopped();
    read_memory(server, &memory);
    assert_int_equal(forms_found(&memory, n.digits, true), 0);
    buffer_fini(&memory);
}

int main(void) {
    secret_install_allocators();
    log_init("test_number", LOG_ERROR + 1);
    /* A server that is told to end before it listens for that ends when it does. */
    sigset_t term;
    (void)sigemptyset(&term);
    (void)sigaddset(&term, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &term, NULL);
    orders = mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (orders == MAP_FAILED)
        return 1;
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_put_match_reveal_erase),
        T(test_durable_over_a_kill),
        T(test_client_reconnects),
        T(test_deadline),
        T(test_refused_without_look_up),
        T(test_bad_values),
        T(test_many_and_list),
        T(test_few_open_files),
        T(test_backup_restore),
        T(test_keys_rotate),
        T(test_restore_over_a_rotation),
        T(test_bad_messages_end_the_connection),
        T(test_framing_and_pipelining),
        T(test_unread_answers_are_bounded),
        T(test_connections_are_bounded),
        T(test_foreign_uid_is_refused),
        T(test_listen),
        T(test_killed_before_the_journal),
        T(test_killed_after_the_journal),
        T(test_failed_commits),
        T(test_a_listed_room_rests),
        T(test_a_miss_touches_no_file),
        T(test_memory_after_a_miss),
        T(test_memory_after_a_miss_while_keys_rotate),
        T(test_memory_after_put_and_reveal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
