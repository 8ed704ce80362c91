#include "ocr-ingest/feed_options.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/clock.h"
#include "lib/config.h"
#include "ocr-ingest/feed_fixed.h"

enum { EXIT_USAGE = 2 };

#define CONFIG_OF struct feed_options

static const struct config_key keys[] = {
    STR(url, "", "tablet-api: https://host:port"),
    STR(ca_file, "", "authority that signed the server's certificate (PEM)"),
    STR(cert_file, "", "this terminal's certificate (PEM)"),
    STR(key_file, "", "its key (PEM)"),
    STR(user_id, "", "site staff to log in as; empty: a system client"),
    STR(password_file, "", "file (0600) whose first line is the password"),
    STR(product, "", "product id, or the maker as a ledger writes it"),
    STR(lot, "", "lot number"),
    STR(vaccinated_on, "", "date of the shots, YYYY-MM-DD"),
    STR(site, "", "site name"),
    STR(physician, "", "physician, may be empty"),
    STR(read_by, "", "ocr qr nw7 manual punch; default ocr for lines, punch for a CSV"),
    STR(status, "", "given or not_given; default by the kind of coupon"),
    STR(input, "-", "file to read, - for standard input"),
    STR(format, "auto", "lines, csv, fixed, or auto: by --layout and the ending of the name"),
    STR(layout, "", "fixed width, in bytes: ocr_line=1-18,vaccinated_on=19-26,lot=27-46,…"),
    STR(journal_file, "", "keys and outcomes of this run; default INPUT.journal"),
    STR(report_file, "", "what needs a person; default INPUT.report.csv"),
    STR(data_dir, "data", "folder of municipalities.csv and vaccines.json"),
    STR(log_keys_file, "",
        "public keys that proofs are checked with: answer of /v1/log/keys, or hex"),
    INT(batch_rows, "200", 1, FEED_BATCH_MAX, "readings in one request"),
    INT(timeout_ms, "30000", 100, 600000, "for one request, ms"),
    INT(give_up_s, "600", 0, 86400, "without any progress, s"),
    INT(outcome_wait_s, "30", 0, 86400, "for outcomes that are pending at the end, s"),
    INT(idle_ms, "300", 0, 60000, "a part of a batch is sent when no line comes for so long, ms"),
    INT(progress_s, "5", 1, 3600, "between progress lines when standard error is no terminal, s"),
    {0},
};

static const struct config_key *key_of(const char *option) {
    for (const struct config_key *k = keys; k->name != NULL; k++) {
        size_t i = 0;
        while (k->name[i] != '\0' && option[i] == (k->name[i] == '_' ? '-' : k->name[i]))
            i++;
        if (k->name[i] == '\0' && option[i] == '\0')
            return k;
    }
    return NULL;
}

static void help(void) {
    (void)fputs("使い方: ocr-ingest [--config FILE] [--check] [--項目 値 ...] [入力ファイル]\n"
                "OCRライン（1行に1枚）またはCSVを読み、tablet-apiに登録します。\n"
                "同じジャーナルで再実行すると、続きから再開します（二重登録・漏れはありません）。\n"
                "終了コード: 0 すべて登録済み、1 人の確認が必要な行あり、2 未完了\n\n"
                "Reads OCR lines or a contractor's CSV and posts them to tablet-api.\n"
                "  --config FILE            configuration file with the keys below\n"
                "  --check                  read and check only, send nothing\n",
                stdout);
    for (const struct config_key *k = keys; k->name != NULL; k++) {
        char option[40];
        (void)snprintf(option, sizeof option, "--%s", k->name);
        for (char *p = option; *p != '\0'; p++)
            if (*p == '_')
                *p = '-';
        (void)printf("  %-24s %s%s%s%s\n", option, k->help, k->default_text[0] != '\0' ? " [" : "",
                     k->default_text, k->default_text[0] != '\0' ? "]" : "");
    }
}

static bool set_key(struct feed_options *o, const struct config_key *k, const char *value) {
    char *at = (char *)o + k->offset;
    if (k->type == CONFIG_STR) {
        char *copy = strdup(value);
        if (copy == NULL)
            return false;
        free(*(char **)(void *)at);
        *(char **)(void *)at = copy;
        return true;
    }
    char *end = NULL;
    errno = 0;
    long long n = strtoll(value, &end, 10);
    if (errno != 0 || end == value || *end != '\0' || n < k->min || n > k->max)
        return false;
    *(int64_t *)(void *)at = n;
    return true;
}

static bool set_defaults(struct feed_options *o) {
    for (const struct config_key *k = keys; k->name != NULL; k++)
        if (!set_key(o, k, k->default_text))
            return false;
    return true;
}

static int wrong(const char *what, const char *name) {
    (void)fprintf(stderr, "ocr-ingest: %s: %s （--help で説明を表示します）\n", what, name);
    return EXIT_USAGE;
}

static const char *config_path(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "--config") == 0)
            return argv[i + 1];
    return NULL;
}

static int read_arguments(int argc, char **argv, struct feed_options *o) {
    bool input_given = false;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--help") == 0) {
            help();
            return 0;
        }
        if (strcmp(a, "--check") == 0) {
            o->check_only = true;
            continue;
        }
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(a, "--config") == 0) {
            i++;
            continue;
        }
        if (strncmp(a, "--", 2) != 0) {
            if (input_given)
                return wrong("入力は1つだけ指定してください", a);
            input_given = true;
            if (!set_key(o, key_of("input"), a))
                return wrong("メモリ不足", a);
            continue;
        }
        const struct config_key *k = key_of(a + 2);
        if (k == NULL)
            return wrong("知らないオプションです", a);
        if (value == NULL || !set_key(o, k, value))
            return wrong("値が正しくありません", a);
        i++;
    }
    return -1;
}

bool feed_options_csv(const struct feed_options *o) {
    size_t n = strlen(o->input);
    return strcmp(o->format, "csv") == 0 ||
           (strcmp(o->format, "auto") == 0 && o->layout[0] == '\0' && n > 4 &&
            strcasecmp(o->input + n - 4, ".csv") == 0);
}

bool feed_options_fixed(const struct feed_options *o) {
    return strcmp(o->format, "fixed") == 0 ||
           (strcmp(o->format, "auto") == 0 && o->layout[0] != '\0');
}

static bool beside(char **path, const char *base, const char *ending) {
    if ((*path)[0] != '\0')
        return true;
    free(*path);
    if (asprintf(path, "%s%s", base, ending) >= 0)
        return true;
    *path = NULL;
    return false;
}

static bool one_of(const char *s, const char *list) {
    size_t n = strlen(s);
    for (const char *p = strstr(list, s); p != NULL && n > 0; p = strstr(p + 1, s))
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    return false;
}

static int complete(struct feed_options *o) {
    bool from_stdin = strcmp(o->input, "-") == 0;
    bool fixed = feed_options_fixed(o);
    bool csv = feed_options_csv(o) || fixed; /* what each row says for itself */
    struct feed_fixed layout;
    const char *bad = "";
    if (!one_of(o->format, "auto lines csv fixed"))
        return wrong("lines / csv / fixed / auto のいずれかです", "--format");
    if (fixed != (o->layout[0] != '\0'))
        return wrong("固定長のときだけ指定してください", "--layout");
    if (fixed && !feed_fixed_read(o->layout, &layout, &bad))
        return wrong("--layout が正しくありません", bad);
    if (from_stdin && o->journal_file[0] == '\0' && !o->check_only)
        return wrong("標準入力のときは指定してください", "--journal-file");
    if (from_stdin && o->journal_file[0] == '\0' && o->report_file[0] == '\0')
        return wrong("標準入力のときは指定してください", "--report-file");
    if (!beside(&o->journal_file, o->input, ".journal") ||
        !beside(&o->report_file, from_stdin ? o->journal_file : o->input, ".report.csv"))
        return wrong("メモリ不足", o->input);
    if (o->read_by[0] == '\0' && !set_key(o, key_of("read-by"), csv ? "punch" : "ocr"))
        return wrong("メモリ不足", "--read-by");
    if (!one_of(o->read_by, "ocr qr nw7 manual punch"))
        return wrong("ocr / qr / nw7 / manual / punch のいずれかです", "--read-by");
    if (o->status[0] != '\0' && !one_of(o->status, "given not_given"))
        return wrong("given / not_given のいずれかです", "--status");
    struct civil_date day;
    if (o->vaccinated_on[0] != '\0' && clock_parse_date(o->vaccinated_on, &day) != VRS_OK)
        return wrong("YYYY-MM-DD の正しい日付を指定してください", "--vaccinated-on");
    const struct {
        const char *value, *option;
        bool needed;
    } must[] = {
        {o->url, "--url", !o->check_only},
        {o->ca_file, "--ca-file", !o->check_only},
        {o->cert_file, "--cert-file", !o->check_only},
        {o->key_file, "--key-file", !o->check_only},
        {o->password_file, "--password-file", !o->check_only && o->user_id[0] != '\0'},
        {o->vaccinated_on, "--vaccinated-on", !csv},
        {o->site, "--site", !csv},
        {o->product, "--product", !csv && strcmp(o->status, "not_given") != 0},
        {o->lot, "--lot", !csv && strcmp(o->status, "not_given") != 0},
    };
    for (size_t i = 0; i < sizeof must / sizeof must[0]; i++)
        if (must[i].needed && must[i].value[0] == '\0')
            return wrong("指定してください", must[i].option);
    return -1;
}

int feed_options_read(int argc, char **argv, struct feed_options *o) {
    memset(o, 0, sizeof *o);
    const char *path = config_path(argc, argv);
    struct vrs_fault fault = {0};
    if (path != NULL) {
        if (config_load(path, keys, o, &fault) != VRS_OK)
            return wrong("設定に誤りがあります", fault.text);
    } else if (!set_defaults(o)) {
        return wrong("メモリ不足", "");
    }
    int status = read_arguments(argc, argv, o);
    return status >= 0 ? status : complete(o);
}

void feed_options_free(struct feed_options *o) {
    config_free(keys, o);
}
