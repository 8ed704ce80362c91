#include "lib/http_head.h"

#include <string.h>
#include <strings.h>

enum http_scan http_head_scan(const uint8_t *p, size_t n, size_t *at) {
    size_t i = *at;

    if (i == 0 && n > 0 && (p[0] == '\r' || p[0] == '\n'))
        return HTTP_SCAN_BAD; /* no empty lines before the request line */
    while (i < n) {
        const uint8_t *lf = memchr(p + i, '\n', n - i);
        if (lf == NULL)
            break;
        size_t end = (size_t)(lf - p);
        if (end == 0 || p[end - 1] != '\r')
            return HTTP_SCAN_BAD;
        if (end >= 3 && p[end - 2] == '\n') {
            *at = end + 1;
            return HTTP_SCAN_END;
        }
        i = end + 1;
    }
    *at = i;
    return HTTP_SCAN_MORE;
}

/* RFC 9110 token characters. */
static bool is_token(const char *s) {
    static const char others[] = "!#$%&'*+-.^_`|~";
    if (*s == '\0')
        return false;
    for (; *s != '\0'; s++) {
        bool letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');
        bool digit = *s >= '0' && *s <= '9';
        if (!letter && !digit && strchr(others, *s) == NULL)
            return false;
    }
    return true;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool http_decode(char *s, bool plus) {
    char *to = s;
    for (; *s != '\0'; s++) {
        int c = (unsigned char)*s;
        if (c == '%') {
            int high = hex_digit(s[1]);
            int low = high < 0 ? -1 : hex_digit(s[2]);
            if (low < 0)
                return false;
            c = high * 16 + low;
            s += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (c < 0x20 || c == 0x7f)
            return false;
        *to++ = (char)c;
    }
    *to = '\0';
    return true;
}

/* Every sequence is valid and stands for no control character; nothing is changed. */
static bool encoding_is_clean(const char *s) {
    for (; *s != '\0'; s++) {
        if (*s != '%')
            continue;
        int high = hex_digit(s[1]);
        int low = high < 0 ? -1 : hex_digit(s[2]);
        if (low < 0 || high < 2 || (high == 7 && low == 15))
            return false;
        s += 2;
    }
    return true;
}

/* Decodes the path.  "/" and "\" must not come out of an encoding, and no segment may be "." or
 * "..": a path has one spelling. */
static bool read_path(char *path) {
    for (const char *p = strchr(path, '%'); p != NULL; p = strchr(p + 1, '%')) {
        if (strncasecmp(p, "%2f", 3) == 0 || strncasecmp(p, "%5c", 3) == 0)
            return false;
    }
    if (!http_decode(path, false) || strchr(path, '\\') != NULL)
        return false;
    for (const char *p = strstr(path, "/."); p != NULL; p = strstr(p + 1, "/.")) {
        size_t dots = p[2] == '.' ? 2 : 1;
        if (p[1 + dots] == '/' || p[1 + dots] == '\0')
            return false;
    }
    return true;
}

static enum vrs_err read_target(char *target, struct http_head *out, struct vrs_fault *fault) {
    for (const char *p = target; *p != '\0'; p++) {
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || *p == '#')
            return err_fail(fault, ERR_BAD_REQUEST, "character in target");
    }
    if (*target != '/') {
        bool tls = strncasecmp(target, "https://", 8) == 0;
        if (!tls && strncasecmp(target, "http://", 7) != 0)
            return err_fail(fault, ERR_BAD_REQUEST, "form of target");
        char *authority = target + (tls ? 8 : 7);
        char *slash = strchr(authority, '/');
        /* "https://host" or "https://host?query" have no path to route by. */
        if (slash == NULL || slash == authority || strcspn(authority, "/") > 255 ||
            memchr(authority, '?', (size_t)(slash - authority)) != NULL ||
            memchr(authority, '@', (size_t)(slash - authority)) != NULL)
            return err_fail(fault, ERR_BAD_REQUEST, "authority in target");
        out->absolute = true;
        out->scheme_tls = tls;
        /* One byte to the left, so that the path keeps its slash. */
        memmove(authority - 1, authority, (size_t)(slash - authority));
        slash[-1] = '\0';
        out->authority = authority - 1;
        target = slash;
    }
    char *query = strchr(target, '?');
    out->query = "";
    if (query != NULL) {
        *query = '\0';
        out->query = query + 1;
        if (!encoding_is_clean(out->query))
            return err_fail(fault, ERR_BAD_REQUEST, "encoding of query");
    }
    if (!read_path(target))
        return err_fail(fault, ERR_BAD_REQUEST, "encoding of path");
    out->path = target;
    return VRS_OK;
}

static enum vrs_err read_request_line(char *line, struct http_head *out, struct vrs_fault *fault) {
    char *target = strchr(line, ' ');
    char *version = target != NULL ? strchr(target + 1, ' ') : NULL;
    if (version == NULL)
        return err_fail(fault, ERR_BAD_REQUEST, "request line");
    *target++ = '\0';
    *version++ = '\0';
    if (strcmp(version, "HTTP/1.1") == 0)
        out->http11 = true;
    else if (strcmp(version, "HTTP/1.0") != 0)
        return err_fail(fault, ERR_BAD_REQUEST, "version");
    if (!is_token(line))
        return err_fail(fault, ERR_BAD_REQUEST, "method");
    if (!route_method_by_name(line, &out->method))
        return err_fail(fault, ERR_NO_METHOD, "method");
    out->keep_alive = out->http11;
    return read_target(target, out, fault);
}

/* "keep-alive, close" and the like. */
static void read_connection(const char *value, struct http_head *out) {
    while (*value != '\0') {
        value += strspn(value, " \t,");
        size_t n = strcspn(value, " \t,");
        if (n == 5 && strncasecmp(value, "close", n) == 0) {
            out->keep_alive = false;
            return;
        }
        if (n == 10 && strncasecmp(value, "keep-alive", n) == 0)
            out->keep_alive = true;
        value += n;
    }
}

static bool read_length(const char *value, struct http_head *out) {
    enum { MAX_DIGITS = 18 };
    size_t n = strlen(value);
    if (n == 0 || n > MAX_DIGITS || strspn(value, "0123456789") != n)
        return false;
    for (; *value != '\0'; value++)
        out->length = out->length * 10 + (uint64_t)(*value - '0');
    out->has_length = true;
    return true;
}

/* Fields that mean something once only; a second one could be read differently by somebody else. */
static const char *const singles[] = {
    "Host",          "Content-Length", "Transfer-Encoding", "Expect",   "Content-Type",
    "Authorization", "Cookie",         "Idempotency-Key",   "If-Match", "If-None-Match",
};
enum { SINGLES = sizeof singles / sizeof singles[0] };

static enum vrs_err read_field(char *line, struct http_head *out, unsigned *seen,
                               struct vrs_fault *fault) {
    char *value = strchr(line, ':');
    if (value == NULL)
        return err_fail(fault, ERR_BAD_REQUEST, "header line");
    *value++ = '\0';
    if (!is_token(line)) /* also a folded line, or a space before the colon */
        return err_fail(fault, ERR_BAD_REQUEST, "header name");
    value += strspn(value, " \t");
    size_t n = strlen(value);
    while (n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t'))
        value[--n] = '\0';
    for (const char *p = value; *p != '\0'; p++) {
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
            return err_fail(fault, ERR_BAD_REQUEST, "header value");
    }
    if (out->fields == HTTP_MAX_FIELDS)
        return err_fail(fault, ERR_TOO_LARGE, "number of headers");
    out->field[out->fields++] = (struct http_field){line, value};

    for (unsigned i = 0; i < SINGLES; i++) {
        if (strcasecmp(line, singles[i]) != 0)
            continue;
        if (*seen & (1U << i))
            return err_fail(fault, ERR_BAD_REQUEST, "%s twice", singles[i]);
        *seen |= 1U << i;
        break;
    }
    if (strcasecmp(line, "Host") == 0) {
        out->host = value;
    } else if (strcasecmp(line, "Content-Length") == 0) {
        if (!read_length(value, out))
            return err_fail(fault, ERR_BAD_REQUEST, "Content-Length");
    } else if (strcasecmp(line, "Transfer-Encoding") == 0) {
        if (strcasecmp(value, "chunked") != 0)
            return err_fail(fault, ERR_BAD_REQUEST, "Transfer-Encoding");
        out->chunked = true;
    } else if (strcasecmp(line, "Expect") == 0) {
        if (strcasecmp(value, "100-continue") != 0)
            return err_fail(fault, ERR_BAD_REQUEST, "Expect");
        out->expect_continue = true;
    } else if (strcasecmp(line, "Connection") == 0) {
        read_connection(value, out);
    }
    return VRS_OK;
}

enum vrs_err http_head_read(char *p, size_t n, struct http_head *out, struct vrs_fault *fault) {
    enum vrs_err e = VRS_OK;
    unsigned seen = 0;
    char *end = p + n;

    memset(out, 0, offsetof(struct http_head, field));
    out->fields = 0;
    if (memchr(p, '\0', n) != NULL)
        return err_fail(fault, ERR_BAD_REQUEST, "NUL");
    for (char *line = p; line < end;) {
        char *cr = memchr(line, '\r', (size_t)(end - line));
        if (cr == NULL || cr + 1 == end || cr[1] != '\n')
            return err_fail(fault, ERR_BAD_REQUEST, "line end");
        *cr = '\0';
        if (line == p)
            e = read_request_line(line, out, fault);
        else if (cr > line)
            e = read_field(line, out, &seen, fault);
        if (e != VRS_OK)
            return e;
        line = cr + 2;
    }

    bool has_body = out->chunked || out->length > 0;
    if (out->host == NULL || *out->host == '\0')
        return err_fail(fault, ERR_BAD_REQUEST, "Host missing");
    if (strpbrk(out->host, "/@?# \t,") != NULL)
        return err_fail(fault, ERR_BAD_REQUEST, "Host");
    if (out->absolute && strcasecmp(out->authority, out->host) != 0)
        return err_fail(fault, ERR_BAD_REQUEST, "target names another host");
    if (out->chunked && (out->has_length || !out->http11))
        return err_fail(fault, ERR_BAD_REQUEST, "Transfer-Encoding with another length");
    if (has_body && (out->method == ROUTE_GET || out->method == ROUTE_HEAD))
        return err_fail(fault, ERR_BAD_REQUEST, "body not expected");
    return VRS_OK;
}

const char *http_head_field(const struct http_head *head, const char *name) {
    for (size_t i = 0; i < head->fields; i++) {
        if (strcasecmp(head->field[i].name, name) == 0)
            return head->field[i].value;
    }
    return NULL;
}
