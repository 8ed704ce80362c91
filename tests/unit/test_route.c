#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/route.h"

static void nothing(struct http_request *rq) {
    (void)rq;
}

static const struct route routes[] = {
    {.method = ROUTE_GET, .path = "/v1/residents/search", .handle = nothing, .right = "residents"},
    {.method = ROUTE_GET, .path = "/v1/residents/{id}", .handle = nothing},
    {.method = ROUTE_PUT,
     .path = "/v1/residents/{id}",
     .handle = nothing,
     .right = "residents.write",
     .flags = ROUTE_IF_MATCH | ROUTE_NUMBER},
    {.method = ROUTE_POST, .path = "/v1/residents/{id}:flag", .handle = nothing},
    {.method = ROUTE_GET, .path = "/v1/a/{x}/b/{y}/c/{z}/d/{w}", .handle = nothing},
    {.method = ROUTE_HEAD, .path = "/v1/own-head", .handle = nothing},
    {.method = ROUTE_GET, .path = "/v1/own-head", .handle = nothing},
    {.method = ROUTE_GET, .path = "/", .handle = nothing},
    {0},
};

static const struct route *find(enum route_method m, const char *path, struct route_match *r) {
    route_find(routes, m, path, r);
    return r->route;
}

static void test_literal_and_parameter(void **state) {
    struct route_match r;
    (void)state;
    assert_ptr_equal(find(ROUTE_GET, "/v1/residents/search", &r), &routes[0]);
    assert_int_equal(r.params, 0);
    assert_ptr_equal(find(ROUTE_GET, "/v1/residents/42", &r), &routes[1]);
    assert_int_equal(r.params, 1);
    assert_memory_equal(r.param[0].name, "id}", 3);
    assert_string_equal(r.param[0].value, "42");
    assert_ptr_equal(find(ROUTE_PUT, "/v1/residents/search", &r), &routes[2]);
    assert_ptr_equal(find(ROUTE_POST, "/v1/residents/42:flag", &r), &routes[3]);
    assert_string_equal(r.param[0].value, "42");
    assert_ptr_equal(find(ROUTE_GET, "/", &r), &routes[7]);
    assert_ptr_equal(find(ROUTE_GET, "/v1/a/1/b/2/c/3/d/4", &r), &routes[4]);
    assert_int_equal(r.params, 4);
    assert_string_equal(r.param[3].value, "4");
}

static void test_what_does_not_match(void **state) {
    static const char *const paths[] = {
        "",
        "/v1/residents",
        "/v1/residents/",
        "/v1/residents//",
        "/v1/residents/42/",
        "/v1/residents/42:other",
        "/v1/residents/:flag",
        "/V1/residents/42",
        "/v1/residents/42/x",
        "//v1/residents/42",
        "/v1/a/1/b//c/3/d/4",
    };
    struct route_match r;
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        assert_null(find(ROUTE_GET, paths[i], &r));
        assert_false(r.other_method);
        assert_int_equal(r.params, 0);
    }
    char path[120] = "/v1/residents/";
    memset(path + 14, '9', 79);
    path[14 + 79] = '\0';
    assert_ptr_equal(find(ROUTE_GET, path, &r), &routes[1]);
    (void)strcat(path, "9"); /* 80 */
    assert_null(find(ROUTE_GET, path, &r));
}

static void test_methods(void **state) {
    struct route_match r;
    enum route_method m;
    (void)state;
    assert_null(find(ROUTE_DELETE, "/v1/residents/42", &r));
    assert_true(r.other_method);
    assert_null(find(ROUTE_GET, "/v1/residents/42:flag", &r));
    assert_true(r.other_method);
    /* HEAD is answered by GET, or by a route of its own. */
    assert_ptr_equal(find(ROUTE_HEAD, "/v1/residents/42", &r), &routes[1]);
    assert_string_equal(r.param[0].value, "42");
    assert_ptr_equal(find(ROUTE_HEAD, "/v1/own-head", &r), &routes[5]);
    assert_null(find(ROUTE_HEAD, "/v1/residents/42:flag", &r));
    assert_true(r.other_method);

    for (int i = ROUTE_GET; i <= ROUTE_HEAD; i++) {
        assert_true(route_method_by_name(route_method_name((enum route_method)i), &m));
        assert_int_equal(m, i);
    }
    assert_false(route_method_by_name("get", &m));
    assert_false(route_method_by_name("OPTIONS", &m));
    assert_false(route_method_by_name("", &m));
}

static void test_print(void **state) {
    char text[2048] = "", name[] = "/tmp/test_route.XXXXXX";
    (void)state;
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    (void)fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    assert_int_equal(dup2(fd, STDOUT_FILENO), STDOUT_FILENO);
    route_print("lgwan", routes);
    (void)fflush(stdout);
    (void)dup2(saved, STDOUT_FILENO);
    (void)close(saved);
    assert_true(pread(fd, text, sizeof text - 1, 0) > 0);
    (void)close(fd);
    (void)unlink(name);
    assert_non_null(strstr(text, "lgwan GET /v1/residents/search residents -\n"));
    assert_non_null(strstr(text, "lgwan PUT /v1/residents/{id} residents.write if_match,number\n"));
    assert_non_null(strstr(text, "lgwan POST /v1/residents/{id}:flag - -\n"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literal_and_parameter),
        cmocka_unit_test(test_what_does_not_match),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
