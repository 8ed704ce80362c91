#include "lib/route.h"

#include <stdio.h>
#include <string.h>

static const char *const method_names[] = {
    [ROUTE_GET] = "GET",     [ROUTE_POST] = "POST",     [ROUTE_PUT] = "PUT",
    [ROUTE_PATCH] = "PATCH", [ROUTE_DELETE] = "DELETE", [ROUTE_HEAD] = "HEAD",
};

enum { METHODS = sizeof method_names / sizeof method_names[0] };

const char *route_method_name(enum route_method m) {
    return method_names[m];
}

bool route_method_by_name(const char *name, enum route_method *out) {
    for (int m = 0; m < METHODS; m++) {
        if (strcmp(method_names[m], name) == 0) {
            *out = (enum route_method)m;
            return true;
        }
    }
    return false;
}

/* Matches one route's pattern and fills the parameters; what it leaves in *out after false is
 * overwritten by the next attempt. */
static bool match(const struct route *r, const char *path, struct route_match *out) {
    const char *pattern = r->path;

    out->params = 0;
    while (*pattern != '\0') {
        if (*pattern != '{') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        /* The value runs to the next '/' or ':', so that "/{id}:flag" means what it says. */
        size_t n = strcspn(path, "/:");
        if (n == 0 || n >= sizeof out->param[0].value || out->params == ROUTE_MAX_PARAMS)
            return false;
        memcpy(out->param[out->params].value, path, n);
        out->param[out->params].value[n] = '\0';
        out->param[out->params].name = pattern + 1;
        out->params++;
        path += n;
        pattern = strchr(pattern, '}');
        if (pattern == NULL)
            return false;
        pattern++;
    }
    return *path == '\0';
}

void route_find(const struct route *routes, enum route_method method, const char *path,
                struct route_match *out) {
    const struct route *by_get = NULL;
    bool other = false;

    out->route = NULL;
    out->other_method = false;
    /* A literal path wins over one with parameters when it stands earlier in the table. */
    for (const struct route *r = routes; r->path != NULL; r++) {
        bool wanted = r->method == method;
        bool get_for_head = method == ROUTE_HEAD && r->method == ROUTE_GET && by_get == NULL;
        if (!wanted && !get_for_head && other)
            continue;
        if (!match(r, path, out))
            continue;
        if (wanted) {
            out->route = r;
            return;
        }
        if (get_for_head)
            by_get = r;
        else
            other = true;
    }
    if (by_get != NULL) {
        (void)match(by_get, path, out);
        out->route = by_get;
        return;
    }
    out->params = 0;
    out->other_method = other;
}

void route_print(const char *listener, const struct route *routes) {
    static const struct {
        unsigned flag;
        const char *name;
    } flags[] = {
        {ROUTE_NO_LOGIN, "no_login"},
        {ROUTE_IDEMPOTENT, "idempotent"},
        {ROUTE_IF_MATCH, "if_match"},
        {ROUTE_NUMBER, "number"},
        {ROUTE_CROSS, "cross"},
        {ROUTE_STREAM_BODY, "stream_body"},
        {ROUTE_SYSTEM_CLIENT, "system_client"},
    };

    for (const struct route *r = routes; r->path != NULL; r++) {
        printf("%s %s %s %s ", listener, method_names[r->method], r->path,
               r->right != NULL ? r->right : "-");
        const char *comma = "";
        for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
            if (r->flags & flags[i].flag) {
                printf("%s%s", comma, flags[i].name);
                comma = ",";
            }
        }
        printf("%s\n", *comma == '\0' ? "-" : "");
    }
}
