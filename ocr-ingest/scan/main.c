/* ocr-scan: scanned coupons → OCR lines for ocr-ingest, and a report of what was refused.
 *
 *   ocr-scan [--out LINES.txt] [--report REPORT.csv] FILE|FOLDER ...
 *
 * Every page is read upright, and turned by 180°, 90° and 270° when it shows no line.  A line stands
 * in LINES only when the reader was sure (reader.h); everything else is a row of the report, in
 * Japanese, for a person to key in.  Both files are new (0600): nothing is overwritten.
 * Exit 0 all read, 1 some were refused, 2 a mistake in the arguments or in writing. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"
#include "ocr-ingest/scan/picture.h"

enum { EXIT_REFUSED = 1, EXIT_USAGE = 2, MAX_PATH = 4096 };

struct scan {
    FILE *lines, *report;
    uint64_t pages, read, refused;
    uint8_t *room; /* the reader's */
    size_t room_bytes;
    bool failed;
};

static const char *const reason_ja[] = {
    [READER_OK] = "読み取りました",
    [READER_NO_LINE] = "OCRライン（18桁）が見つかりません。向きと位置を確認してください",
    [READER_CUT_LINE] = "OCRラインが途中で切れているか、18桁ではありません",
    [READER_UNSURE_DIGIT] = "読み取りに自信のない桁があります。目で見て入力してください",
    [READER_CHECK_DIGIT] = "自治体コードの検査数字が合いません。目で見て確認してください",
    [READER_TWO_LINES] = "1ページに2つのOCRラインがあります。1枚ずつスキャンしてください",
    [READER_BAD_PICTURE] = "画像の大きさが読み取りの範囲外です",
};

/* A quarter turn to the right. */
static bool turn(struct scan_picture *p) {
    uint8_t *to = malloc((size_t)p->width * (size_t)p->height);
    if (to == NULL)
        return false;
    for (int y = 0; y < p->height; y++) {
        for (int x = 0; x < p->width; x++)
            to[(size_t)x * (size_t)p->height + (size_t)(p->height - 1 - y)] =
                p->grey[(size_t)y * (size_t)p->width + (size_t)x];
    }
    free(p->grey);
    p->grey = to;
    int width = p->width;
    p->width = p->height;
    p->height = width;
    return true;
}

static bool enough_room(struct scan *s, const struct scan_picture *p) {
    size_t need = reader_workspace_bytes(p->width, p->height);
    if (need > s->room_bytes) {
        free(s->room);
        s->room = malloc(need);
        s->room_bytes = s->room != NULL ? need : 0;
    }
    return s->room != NULL || need == 0;
}

/* Upright, then the other ways round; the first answer stands unless another turn reads it. */
static void read_page(struct scan *s, struct scan_picture *p, struct reader_result *out) {
    for (int turns = 0; turns < 4; turns++) {
        struct reader_result r = {.reason = READER_BAD_PICTURE};
        if (enough_room(s, p))
            (void)reader_read(s->room, p->grey, p->width, p->height, p->width, &r);
        if (turns == 0 || r.reason == READER_OK)
            *out = r;
        if (r.reason == READER_OK || r.reason == READER_TWO_LINES || !turn(p))
            return;
    }
}

/* A cell of the report: quotes doubled, a formula's first character made harmless. */
static void cell(FILE *f, const char *text, bool last) {
    (void)fputc('"', f);
    if (text[0] != '\0' && strcspn(text, "=+-@\t\r") == 0)
        (void)fputc('\'', f);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            (void)fputc('"', f);
        (void)fputc(*text, f);
    }
    (void)fputs(last ? "\"\r\n" : "\",", f);
}

static void refuse(struct scan *s, const char *path, int page, const char *why,
                   const struct reader_result *r) {
    char number[16], read[READER_DIGITS + 1] = "";
    (void)snprintf(number, sizeof number, "%d", page);
    for (int i = 0; r != NULL && r->digits[0] != '\0' && i < READER_DIGITS; i++)
        read[i] = r->confidence[i] >= READER_SURE ? r->digits[i] : '?';
    cell(s->report, path, false);
    cell(s->report, number, false);
    cell(s->report, why, false);
    cell(s->report, read, true);
    s->refused++;
}

static void scan_file(struct scan *s, const char *path) {
    struct scan_source *source = NULL;
    struct vrs_fault fault = {0};
    struct scan_picture p = {0};
    enum vrs_err e = scan_open(path, &source, &fault);
    while (e == VRS_OK && (e = scan_next(source, &p, &fault)) == VRS_OK) {
        struct reader_result r;
        int page = p.page;
        s->pages++;
        read_page(s, &p, &r);
        scan_picture_free(&p);
        if (r.reason == READER_OK) {
            s->read++;
            (void)fprintf(s->lines, "%s\n", r.digits);
        } else {
            refuse(s, path, page, reason_ja[r.reason], &r);
        }
        if (isatty(STDERR_FILENO))
            (void)fprintf(stderr, "\r%llu枚 読み取り%llu 要確認%llu ", (unsigned long long)s->pages,
                          (unsigned long long)s->read, (unsigned long long)s->refused);
    }
    if (source == NULL || e != ERR_NOT_FOUND)
        refuse(s, path, source == NULL ? 0 : p.page, fault.text, NULL);
    scan_close(&source);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *d) {
    return d->d_name[0] != '.';
}

static void scan_path(struct scan *s, const char *path, int depth) {
    struct stat st;
    struct dirent **list = NULL;
    char below[MAX_PATH];
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        scan_file(s, path);
        return;
    }
    int n = depth > 8 ? -1 : scandir(path, &list, visible, by_name);
    if (n < 0)
        refuse(s, path, 0, "フォルダーを読めません", NULL);
    for (int i = 0; i < n; i++) {
        if ((size_t)snprintf(below, sizeof below, "%s/%s", path, list[i]->d_name) < sizeof below)
            scan_path(s, below, depth + 1);
        free(list[i]);
    }
    free((void *)list);
}

static FILE *fresh(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (f == NULL)
        (void)fprintf(stderr, "ocr-scan: %sを作れません（%s）。別の名前を指定してください。\n",
                      path, strerror(errno));
    return f;
}

static bool finish(FILE *f) {
    bool ok = fflush(f) == 0 && fsync(fileno(f)) == 0;
    return fclose(f) == 0 && ok;
}

int main(int argc, char **argv) {
    const char *out = "lines.txt", *report = "lines.report.csv";
    struct scan s = {0};
    int i = 1;
    log_init("ocr-scan", LOG_WARN);
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--out") == 0)
            out = argv[i + 1];
        else if (strcmp(argv[i], "--report") == 0)
            report = argv[i + 1];
        else
            break;
    }
    if (i >= argc || argv[i][0] == '-') {
        (void)fputs("使い方: ocr-scan [--out LINES.txt] [--report REPORT.csv] "
                    "ファイルまたはフォルダー ...\n"
                    "スキャンした接種券（PNG・JPEG・PNM・TIFF・PDF）のOCRラインを読み取ります。\n"
                    "読み取れた行はLINES.txtに、人の確認が必要なものはREPORT.csvに書きます。\n"
                    "登録は ocr-ingest で行います: ocr-ingest --config ocr-ingest.conf LINES.txt\n",
                    stderr);
        return EXIT_USAGE;
    }
    s.lines = fresh(out);
    s.report = s.lines != NULL ? fresh(report) : NULL;
    if (s.report == NULL)
        return EXIT_USAGE;
    (void)fputs("\xef\xbb\xbf\"ファイル\",\"ページ\",\"理由\",\"読めた桁\"\r\n", s.report);
    for (; i < argc; i++)
        scan_path(&s, argv[i], 0);
    free(s.room);
    bool kept = finish(s.lines);
    kept = finish(s.report) && kept;
    (void)fprintf(stderr, "%s%llu枚: 読み取り %llu、要確認 %llu\n",
                  isatty(STDERR_FILENO) ? "\r" : "", (unsigned long long)s.pages,
                  (unsigned long long)s.read, (unsigned long long)s.refused);
    if (!kept) {
        (void)fputs("ocr-scan: 結果を書き込めません。空き容量を確認してください。\n", stderr);
        return EXIT_USAGE;
    }
    return s.refused > 0 ? EXIT_REFUSED : 0;
}
