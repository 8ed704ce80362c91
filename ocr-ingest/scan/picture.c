#include "ocr-ingest/scan/picture.h"

#include <errno.h>
#include <png.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <tiffio.h>
#include <turbojpeg.h>
#include <unistd.h>

enum { MAX_FILE_BYTES = 512 << 20, HEAD_BYTES = 8 };

enum kind { KIND_PNG, KIND_JPEG, KIND_PNM, KIND_TIFF, KIND_PDF };

struct scan_source {
    enum kind kind;
    const char *path;
    int pages; /* given out */
    FILE *file;
    TIFF *tiff;
    pid_t renderer; /* pdftoppm, 0 none */
};

void scan_picture_free(struct scan_picture *p) {
    free(p->grey);
    p->grey = NULL;
}

static enum vrs_err room(struct scan_picture *p, int64_t width, int64_t height,
                         struct vrs_fault *fault) {
    if (width < 1 || height < 1 || width > SCAN_MAX_SIDE || height > SCAN_MAX_SIDE)
        return err_fail(fault, ERR_TOO_LARGE,
                        "画像の大きさは%d画素までです。解像度を下げて読み取り直してください。",
                        SCAN_MAX_SIDE);
    p->width = (int)width;
    p->height = (int)height;
    p->grey = malloc((size_t)(width * height));
    return p->grey != NULL ? VRS_OK : err_fail(fault, ERR_MEMORY, "メモリーが足りません。");
}

static enum vrs_err broken(struct vrs_fault *fault, const char *why) {
    return err_fail(fault, ERR_BAD_MEDIA,
                    "画像として読み取れません（%s）。スキャンし直してください。", why);
}

/* ITU-R BT.601, as every grey converter. */
static uint8_t grey_of(unsigned r, unsigned g, unsigned b) {
    return (uint8_t)((r * 299 + g * 587 + b * 114) / 1000);
}

/* --- PNG, JPEG --- */

static enum vrs_err read_png(FILE *f, struct scan_picture *out, struct vrs_fault *fault) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    const png_color white = {255, 255, 255};
    if (png_image_begin_read_from_stdio(&image, f) == 0)
        return broken(fault, image.message);
    enum vrs_err e = room(out, image.width, image.height, fault);
    image.format = PNG_FORMAT_GRAY;
    if (e == VRS_OK && png_image_finish_read(&image, &white, out->grey, 0, NULL) == 0)
        e = broken(fault, image.message);
    png_image_free(&image);
    return e;
}

static enum vrs_err whole_file(FILE *f, unsigned char **out, size_t *len, struct vrs_fault *fault) {
    long n = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    if (n <= 0 || n > MAX_FILE_BYTES || fseek(f, 0, SEEK_SET) != 0)
        return broken(fault, "大きさ");
    *len = (size_t)n;
    *out = malloc(*len);
    if (*out == NULL)
        return err_fail(fault, ERR_MEMORY, "メモリーが足りません。");
    return fread(*out, 1, *len, f) == *len ? VRS_OK : broken(fault, "読み取りエラー");
}

static enum vrs_err read_jpeg(FILE *f, struct scan_picture *out, struct vrs_fault *fault) {
    unsigned char *bytes = NULL;
    size_t len = 0;
    int width = 0, height = 0, sampling = 0, colours = 0;
    tjhandle t = tjInitDecompress();
    enum vrs_err e = t != NULL ? whole_file(f, &bytes, &len, fault) : ERR_MEMORY;
    if (e == VRS_OK &&
        tjDecompressHeader3(t, bytes, len, &width, &height, &sampling, &colours) != 0)
        e = broken(fault, tjGetErrorStr2(t));
    if (e == VRS_OK)
        e = room(out, width, height, fault);
    if (e == VRS_OK && tjDecompress2(t, bytes, len, out->grey, width, 0, height, TJPF_GRAY,
                                     TJFLAG_ACCURATEDCT) != 0)
        e = broken(fault, tjGetErrorStr2(t));
    free(bytes);
    if (t != NULL)
        (void)tjDestroy(t);
    return e;
}

/* --- PNM: P4 bits, P5 grey, P6 colour, one or several behind each other --- */

static bool number(FILE *f, int64_t *out) {
    int c = getc(f);
    while (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '#') {
        if (c == '#') {
            while (c != '\n' && c != EOF)
                c = getc(f);
        }
        c = getc(f);
    }
    *out = 0;
    if (c < '0' || c > '9')
        return false;
    for (; c >= '0' && c <= '9' && *out < 1000000; c = getc(f))
        *out = *out * 10 + (c - '0');
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool pnm_row(FILE *f, char type, unsigned char *row, size_t bytes, uint8_t *grey,
                    int width) {
    if (fread(row, 1, bytes, f) != bytes)
        return false;
    for (int x = 0; x < width; x++) {
        grey[x] = type == '6'   ? grey_of(row[3 * x], row[3 * x + 1], row[3 * x + 2])
                  : type == '5' ? row[x]
                                : (row[x / 8] >> (7 - x % 8) & 1 ? 0 : 255);
    }
    return true;
}

static enum vrs_err read_pnm(FILE *f, struct scan_picture *out, struct vrs_fault *fault) {
    int64_t width, height, top = 255;
    int p = getc(f), type = getc(f);
    if (p == EOF)
        return ERR_NOT_FOUND;
    if (p != 'P' || (type != '4' && type != '5' && type != '6') || !number(f, &width) ||
        !number(f, &height) || (type != '4' && !number(f, &top)) || top != 255)
        return broken(fault, "PNM");
    enum vrs_err e = room(out, width, height, fault);
    size_t bytes = type == '4' ? ((size_t)width + 7) / 8 : (size_t)width * (type == '6' ? 3 : 1);
    unsigned char *row = e == VRS_OK ? malloc(bytes + 1) : NULL;
    if (e == VRS_OK && row == NULL)
        e = ERR_MEMORY;
    for (int64_t y = 0; e == VRS_OK && y < height; y++) {
        if (!pnm_row(f, (char)type, row, bytes, out->grey + y * width, (int)width))
            e = broken(fault, "PNM");
    }
    free(row);
    return e;
}

/* --- TIFF --- */

static enum vrs_err read_tiff(TIFF *t, struct scan_picture *out, struct vrs_fault *fault) {
    uint32_t width = 0, height = 0;
    if (TIFFGetField(t, TIFFTAG_IMAGEWIDTH, &width) != 1 ||
        TIFFGetField(t, TIFFTAG_IMAGELENGTH, &height) != 1)
        return broken(fault, "TIFF");
    enum vrs_err e = room(out, width, height, fault);
    uint32_t *colour = e == VRS_OK ? malloc((size_t)width * height * sizeof *colour) : NULL;
    if (e == VRS_OK && colour == NULL)
        e = err_fail(fault, ERR_MEMORY, "メモリーが足りません。");
    if (e == VRS_OK &&
        TIFFReadRGBAImageOriented(t, width, height, colour, ORIENTATION_TOPLEFT, 0) != 1)
        e = broken(fault, "TIFF");
    for (size_t i = 0; e == VRS_OK && colour != NULL && i < (size_t)width * height; i++)
        out->grey[i] = grey_of(TIFFGetR(colour[i]), TIFFGetG(colour[i]), TIFFGetB(colour[i]));
    free(colour);
    return e;
}

/* --- PDF --- */

static enum vrs_err start_renderer(struct scan_source *s, struct vrs_fault *fault) {
    int pipe_of[2];
    if (pipe(pipe_of) != 0)
        return err_fail(fault, ERR_IO, "pdftoppmを開始できません。");
    s->renderer = fork();
    if (s->renderer == 0) {
        (void)dup2(pipe_of[1], STDOUT_FILENO);
        (void)close(pipe_of[0]);
        (void)close(pipe_of[1]);
        (void)execlp("pdftoppm", "pdftoppm", "-gray", "-r", "300", "--", s->path, (char *)NULL);
        _exit(127);
    }
    (void)close(pipe_of[1]);
    s->file = s->renderer > 0 ? fdopen(pipe_of[0], "rb") : NULL;
    if (s->file == NULL) {
        (void)close(pipe_of[0]);
        return err_fail(fault, ERR_IO, "pdftoppmを開始できません。");
    }
    return VRS_OK;
}

static enum vrs_err end_renderer(struct scan_source *s, struct vrs_fault *fault) {
    int status = 0;
    (void)fclose(s->file); /* one that still writes ends of it */
    s->file = NULL;
    while (waitpid(s->renderer, &status, 0) < 0 && errno == EINTR) {
    }
    s->renderer = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return err_fail(fault, ERR_IO,
                        "PDFを読むにはpoppler-utilsが必要です。インストールしてください。");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? ERR_NOT_FOUND : broken(fault, "PDF");
}

/* --- any --- */

static bool kind_of(const unsigned char head[HEAD_BYTES], enum kind *out) {
    static const struct {
        const char *bytes;
        size_t n;
        enum kind kind;
    } kinds[] = {{"\x89PNG", 4, KIND_PNG}, {"\xff\xd8\xff", 3, KIND_JPEG},
                 {"P4", 2, KIND_PNM},      {"P5", 2, KIND_PNM},
                 {"P6", 2, KIND_PNM},      {"II*\0", 4, KIND_TIFF},
                 {"MM\0*", 4, KIND_TIFF},  {"%PDF-", 5, KIND_PDF}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (memcmp(head, kinds[i].bytes, kinds[i].n) == 0) {
            *out = kinds[i].kind;
            return true;
        }
    }
    return false;
}

static enum vrs_err begin(struct scan_source *s, struct vrs_fault *fault) {
    unsigned char head[HEAD_BYTES] = {0};
    s->file = fopen(s->path, "rb");
    if (s->file == NULL)
        return err_fail(fault, ERR_NOT_FOUND, "ファイルを開けません: %s", strerror(errno));
    if (fread(head, 1, sizeof head, s->file) == 0 || !kind_of(head, &s->kind))
        return err_fail(
            fault, ERR_BAD_MEDIA,
            "PNG・JPEG・PNM・TIFF・PDFのいずれでもありません。形式を確認してください。");
    rewind(s->file);
    if (s->kind != KIND_TIFF && s->kind != KIND_PDF)
        return VRS_OK;
    (void)fclose(s->file);
    s->file = NULL;
    if (s->kind == KIND_PDF)
        return start_renderer(s, fault);
    (void)TIFFSetWarningHandler(NULL);
    (void)TIFFSetErrorHandler(NULL);
    s->tiff = TIFFOpen(s->path, "r");
    return s->tiff != NULL ? VRS_OK : broken(fault, "TIFF");
}

enum vrs_err scan_open(const char *path, struct scan_source **out, struct vrs_fault *fault) {
    struct scan_source *s = calloc(1, sizeof *s);
    *out = s;
    if (s == NULL)
        return ERR_MEMORY;
    s->path = path;
    enum vrs_err e = begin(s, fault);
    if (e != VRS_OK)
        scan_close(out);
    return e;
}

enum vrs_err scan_next(struct scan_source *s, struct scan_picture *out, struct vrs_fault *fault) {
    enum vrs_err e = ERR_NOT_FOUND;
    *out = (struct scan_picture){.page = s->pages + 1};
    if (s->pages >= SCAN_MAX_PAGES)
        return err_fail(fault, ERR_TOO_LARGE, "ページが多すぎます。ファイルを分けてください。");
    if (s->kind == KIND_TIFF && (s->pages == 0 || TIFFReadDirectory(s->tiff) == 1))
        e = read_tiff(s->tiff, out, fault);
    else if (s->kind == KIND_PNM && s->file != NULL)
        e = read_pnm(s->file, out, fault);
    else if (s->kind == KIND_PDF && s->file != NULL)
        e = read_pnm(s->file, out, fault);
    else if (s->kind == KIND_PNG && s->pages == 0)
        e = read_png(s->file, out, fault);
    else if (s->kind == KIND_JPEG && s->pages == 0)
        e = read_jpeg(s->file, out, fault);
    if (e == ERR_NOT_FOUND && s->renderer != 0)
        e = end_renderer(s, fault);
    if (e != VRS_OK)
        scan_picture_free(out);
    s->pages++;
    return e;
}

void scan_close(struct scan_source **sp) {
    struct scan_source *s = *sp;
    if (s == NULL)
        return;
    if (s->tiff != NULL)
        TIFFClose(s->tiff);
    if (s->file != NULL)
        (void)fclose(s->file);
    if (s->renderer > 0) {
        (void)kill(s->renderer, SIGTERM);
        while (waitpid(s->renderer, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    free(s);
    *sp = NULL;
}
