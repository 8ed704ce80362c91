#include "vrs-server/accounts/password_rule.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buffer.h"
#include "lib/secret.h"
#include "lib/text.h"

enum {
    LIST_MAX_BYTES = 4 << 20,
    REST_CHARS = 8,    /* what must be left beside an ID or a town's name */
    DISTINCT_CHARS = 5 /* aaaaaaaaaaaa, 121212121212 */
};

struct password_rules {
    char *text; /* folded words, each ending in NUL */
    const char **word;
    size_t count;
};

/* --- folding: half width, upper case, no spaces and hyphens --- */

static bool fold(const char *s, struct buffer *out) {
    buffer_clear(out);
    text_fold_code(s, out);
    return buffer_cstr(out) != NULL && !out->failed;
}

/* Signs and digits that stand for letters. */
static char plain_letter(char c) {
    static const char signs[] = "@4301!5$7+8", letters[] = "AAEOIISSTTB";
    const char *at = c != '\0' ? strchr(signs, c) : NULL;
    return at != NULL ? letters[at - signs] : c;
}

/* --- the list --- */

static int by_word(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool listed(const struct password_rules *r, const char *word) {
    return r->count > 0 && bsearch(&word, r->word, r->count, sizeof *r->word, by_word) != NULL;
}

static enum vrs_err take_words(struct password_rules *r, struct buffer *words) {
    size_t lines = 0;
    for (size_t i = 0; i < words->len; i++)
        lines += words->data[i] == '\n';
    r->text = malloc(words->len + 1);
    r->word = calloc(lines + 1, sizeof *r->word);
    if (r->text == NULL || r->word == NULL)
        return ERR_MEMORY;
    if (words->len > 0)
        memcpy(r->text, words->data, words->len);
    r->text[words->len] = '\0';
    for (char *save, *w = strtok_r(r->text, "\n", &save); w != NULL;
         w = strtok_r(NULL, "\n", &save))
        r->word[r->count++] = w;
    qsort(r->word, r->count, sizeof *r->word, by_word);
    return VRS_OK;
}

enum vrs_err password_rules_open(const char *path, struct password_rules **out,
                                 struct vrs_fault *fault) {
    struct password_rules *r = calloc(1, sizeof *r);
    struct buffer words, folded;
    char line[300];
    FILE *f = fopen(path, "re");
    *out = r;
    if (r == NULL || f == NULL) {
        if (f != NULL)
            (void)fclose(f);
        return r == NULL ? ERR_MEMORY : err_fail(fault, ERR_CONFIG, "cannot open %s", path);
    }
    buffer_init(&words, LIST_MAX_BYTES);
    buffer_init(&folded, sizeof line * 4);
    while (fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] == '#' || line[0] == '\0' || !fold(line, &folded))
            continue;
        (void)buffer_puts(&words, buffer_cstr(&folded));
        (void)buffer_puts(&words, "\n");
    }
    (void)fclose(f);
    enum vrs_err e =
        words.failed ? err_fail(fault, ERR_CONFIG, "%s is too long", path) : take_words(r, &words);
    if (e == VRS_OK && r->count == 0)
        e = err_fail(fault, ERR_CONFIG, "%s lists no password", path);
    buffer_fini(&words);
    buffer_fini(&folded);
    return e;
}

void password_rules_close(struct password_rules **rp) {
    struct password_rules *r = *rp;
    if (r != NULL) {
        free(r->text);
        free(r->word);
    }
    free(r);
    *rp = NULL;
}

/* --- one password --- */

/* Is `s` the same piece again and again?  Its length; the whole length when not. */
static size_t period(const char *s) {
    size_t n = strlen(s);
    for (size_t p = 1; p <= n / 2; p++) {
        if (n % p == 0 && memcmp(s, s + p, n - p) == 0)
            return p;
    }
    return n;
}

/* The word, once if it is repeated, in the list? */
static bool known_word(const struct password_rules *r, const char *word) {
    char once[PASSWORD_MAX_BYTES + 1];
    if (listed(r, word))
        return true;
    size_t p = period(word);
    if (p > PASSWORD_MAX_BYTES)
        return false;
    memcpy(once, word, p);
    once[p] = '\0';
    bool known = p < strlen(word) && (p < PASSWORD_MIN_CHARS || listed(r, once));
    secret_wipe(once, sizeof once);
    return known;
}

/* As it is, without digits and signs around it, and read with 0 as o …: in the list? */
static bool known(const struct password_rules *r, const char *folded) {
    char core[PASSWORD_MAX_BYTES + 1];
    bool found = known_word(r, folded);
    for (int leet = 0; leet < 2 && !found; leet++) {
        const char *from = folded + strspn(folded, "0123456789!\"#$%&'()*+,./:;<=>?@[\\]^_`{|}~");
        size_t n = strlen(from);
        while (n > 0 && !isalpha((unsigned char)from[n - 1]) && (unsigned char)from[n - 1] < 0x80)
            n--;
        if (leet != 0) {
            from = folded;
            n = strlen(folded);
            while (n > 0 && isdigit((unsigned char)from[n - 1]))
                n--; /* the year behind it is none of it */
        }
        if (n == 0 || n > PASSWORD_MAX_BYTES)
            continue;
        for (size_t i = 0; i < n; i++)
            core[i] = leet != 0 ? plain_letter(from[i]) : from[i];
        core[n] = '\0';
        found = known_word(r, core);
    }
    secret_wipe(core, sizeof core);
    return found;
}

static size_t distinct_chars(const char *s) {
    uint32_t seen[DISTINCT_CHARS];
    size_t n = 0;
    for (const char *end = s + strlen(s); s < end && n < DISTINCT_CHARS;) {
        uint32_t c = text_decode(&s, end);
        bool new_one = true;
        for (size_t i = 0; i < n; i++)
            new_one &= seen[i] != c;
        if (new_one)
            seen[n++] = c;
    }
    return n;
}

/* Little more than `name` (folded)? */
static bool mostly(const char *folded, const char *name) {
    size_t taken = 0, n = strlen(name);
    if (text_chars(name) < 2)
        return false;
    for (const char *at = folded; (at = strstr(at, name)) != NULL; at += n)
        taken += text_chars(name);
    return taken > 0 && text_chars(folded) - taken < REST_CHARS;
}

/* Hiragana in the usual Latin letters (Hepburn), upper case; small tsu doubles. */
static void romanise(const char *kana, char *out, size_t cap) {
    static const struct {
        const char *kana, *latin;
    } table[] = {
        {"きゃ", "KYA"}, {"きゅ", "KYU"}, {"きょ", "KYO"}, {"しゃ", "SHA"}, {"しゅ", "SHU"},
        {"しょ", "SHO"}, {"ちゃ", "CHA"}, {"ちゅ", "CHU"}, {"ちょ", "CHO"}, {"にゃ", "NYA"},
        {"にゅ", "NYU"}, {"にょ", "NYO"}, {"ひゃ", "HYA"}, {"ひゅ", "HYU"}, {"ひょ", "HYO"},
        {"みゃ", "MYA"}, {"みゅ", "MYU"}, {"みょ", "MYO"}, {"りゃ", "RYA"}, {"りゅ", "RYU"},
        {"りょ", "RYO"}, {"ぎゃ", "GYA"}, {"ぎゅ", "GYU"}, {"ぎょ", "GYO"}, {"じゃ", "JA"},
        {"じゅ", "JU"},  {"じょ", "JO"},  {"びゃ", "BYA"}, {"びゅ", "BYU"}, {"びょ", "BYO"},
        {"あ", "A"},     {"い", "I"},     {"う", "U"},     {"え", "E"},     {"お", "O"},
        {"か", "KA"},    {"き", "KI"},    {"く", "KU"},    {"け", "KE"},    {"こ", "KO"},
        {"さ", "SA"},    {"し", "SHI"},   {"す", "SU"},    {"せ", "SE"},    {"そ", "SO"},
        {"た", "TA"},    {"ち", "CHI"},   {"つ", "TSU"},   {"て", "TE"},    {"と", "TO"},
        {"な", "NA"},    {"に", "NI"},    {"ぬ", "NU"},    {"ね", "NE"},    {"の", "NO"},
        {"は", "HA"},    {"ひ", "HI"},    {"ふ", "FU"},    {"へ", "HE"},    {"ほ", "HO"},
        {"ま", "MA"},    {"み", "MI"},    {"む", "MU"},    {"め", "ME"},    {"も", "MO"},
        {"や", "YA"},    {"ゆ", "YU"},    {"よ", "YO"},    {"ら", "RA"},    {"り", "RI"},
        {"る", "RU"},    {"れ", "RE"},    {"ろ", "RO"},    {"わ", "WA"},    {"を", "O"},
        {"ん", "N"},     {"が", "GA"},    {"ぎ", "GI"},    {"ぐ", "GU"},    {"げ", "GE"},
        {"ご", "GO"},    {"ざ", "ZA"},    {"じ", "JI"},    {"ず", "ZU"},    {"ぜ", "ZE"},
        {"ぞ", "ZO"},    {"だ", "DA"},    {"ぢ", "JI"},    {"づ", "ZU"},    {"で", "DE"},
        {"ど", "DO"},    {"ば", "BA"},    {"び", "BI"},    {"ぶ", "BU"},    {"べ", "BE"},
        {"ぼ", "BO"},    {"ぱ", "PA"},    {"ぴ", "PI"},    {"ぷ", "PU"},    {"ぺ", "PE"},
        {"ぽ", "PO"},
    };
    size_t len = 0;
    bool twice = false;
    out[0] = '\0';
    while (*kana != '\0') {
        const char *latin = NULL;
        size_t step = 1;
        for (size_t i = 0; i < sizeof table / sizeof *table && latin == NULL; i++) {
            if (text_starts_with(kana, table[i].kana)) {
                latin = table[i].latin;
                step = strlen(table[i].kana);
            }
        }
        if (text_starts_with(kana, "っ")) {
            step = strlen("っ");
            twice = true;
        } else if (latin != NULL && len + strlen(latin) + 2 < cap) {
            len += (size_t)snprintf(out + len, cap - len, "%.*s%s", twice ? 1 : 0, latin, latin);
            twice = false;
        }
        kana += step;
    }
}

/* The town's name in kanji, kana and Latin letters, with and without 市区町村. */
static bool mostly_town(const char *folded, const struct municipality *town) {
    static const char *const endings[] = {"KU", "SHI", "CHOU", "CHO", "MACHI", "MURA", "SON"};
    char latin[300];
    romanise(town->kana, latin, sizeof latin);
    if (mostly(folded, town->name) || mostly(folded, town->kana) || mostly(folded, latin))
        return true;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(latin), end = strlen(endings[i]);
        if (n > end + 3 && strcmp(latin + n - end, endings[i]) == 0) {
            latin[n - end] = '\0';
            return mostly(folded, latin);
        }
    }
    return false;
}

enum vrs_err password_rule_check(const struct password_rules *r, const char *password,
                                 const char *user, const struct municipality *town) {
    size_t chars = text_chars(password);
    if (chars < PASSWORD_MIN_CHARS || chars > PASSWORD_MAX_CHARS ||
        strlen(password) > PASSWORD_MAX_BYTES || !text_printable(password) ||
        distinct_chars(password) < DISTINCT_CHARS)
        return ERR_PASSWORD_WEAK;
    struct buffer folded, id;
    buffer_init(&folded, 8 * PASSWORD_MAX_BYTES);
    buffer_init(&id, 1024);
    enum vrs_err e = fold(password, &folded) && fold(user, &id) ? VRS_OK : ERR_MEMORY;
    if (e == VRS_OK &&
        (known(r, buffer_cstr(&folded)) || mostly(buffer_cstr(&folded), buffer_cstr(&id)) ||
         (town != NULL && mostly_town(buffer_cstr(&folded), town))))
        e = ERR_PASSWORD_WEAK;
    if (folded.data != NULL)
        secret_wipe(folded.data, folded.len);
    buffer_fini(&folded);
    buffer_fini(&id);
    return e;
}
