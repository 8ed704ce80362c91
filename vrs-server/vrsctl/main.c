#include "vrs-server/vrsctl/vrsctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/secret.h"
#include "lib/version.h"
#include "ocr-ingest/coupon.h"

enum { MAX_REPLY_BYTES = 16 << 20, MAX_SECRET_BYTES = 512 };

static const char usage[] =
    "usage: vrsctl init DIR [server=ADDRESSES] [inside=ADDRESSES] [valid_from=YYYY-MM-DD]\n"
    "       vrsctl municipalities FILE.csv\n"
    "       vrsctl version                     the libraries that it runs with\n"
    "       vrsctl allow-list.init DIR\n"
    "       vrsctl allow-list.sign FILE.json KEY > SIGNED.json\n"
    "       vrsctl signer.init DIR             what a stack made before vrs-signer lacks\n"
    "       vrsctl signer.new-key KEYS_DIR     the next log key; restart vrs-signer\n"
    "       vrsctl -s CONTROL.SOCK COMMAND [name=value ...]\n"
    "\n"
    "commands (a value of - is read from standard input, for passwords):\n"
    "  user.apply user_id= person_name= municipality_code= section= roles= rights=\n"
    "             valid_until= by=APPLICANT password=- [unit=] [scope=]\n"
    "                                                   files an application\n"
    "  user.applications                                open applications\n"
    "  user.approve application_id= by=APPROVER         the first approver of a municipality, or\n"
    "                                                   somebody who belongs to none\n"
    "  user.disable user_id=      user.list\n"
    "  terminal.issue dir=DIR name= kind=tablet|reader|system|lgwan|lgwan-system\n"
    "             municipality_code= [site=] [binding=site|none] [days=365] [valid_from=]\n"
    "             [rights=] [p12_password=-]\n"
    "                                                   makes certificate and key, registers it\n"
    "                                                   (DIR as given to init: its authorities "
    "sign)\n"
    "  terminal.enrol-code municipality_code= kind= name= by= [site=] [rights=] [binding=]\n"
    "             [valid_minutes=60]                    a one-time code, shown once\n"
    "  terminal.revoke name=|serial= [by=] [reason=]      terminal.list\n"
    "  allow-list.load                                  reads the signed list again\n"
    "  keys.rotate municipality_code=CODE|all what=data|index|kek [area=records|log|numbers]\n"
    "             [by=]                                 new keys, in the background\n"
    "  keys.status municipality_code=CODE|all           exit 3 while a rotation is under way\n"
    "  verify-log municipality_code= [known_size= known_root= known_epoch=]\n"
    "                                                   every entry, tile and seal; is the known\n"
    "                                                   head a prefix (log.verify is the same)\n"
    "  backup municipality_code= name=                  sealed copies, records and numbers\n"
    "  restore municipality_code= name=                 then replays the inbox, new log epoch\n"
    "  partition.destroy municipality_code= by=         a municipality leaves: its keys go (needs\n"
    "                                                   its own approver's approval)\n"
    "  migrate.key municipality_code=                   at the receiving system: to whom\n"
    "  migrate.export municipality_code= to= name= by=  a whole municipality, sealed and signed;\n"
    "                                                   needs its approver (kind migrate)\n"
    "  migrate.import municipality_code= file= signer=HEX by=\n"
    "                                                   of STATE/migration; all or nothing\n"
    "  selfcheck [state=DIR] [number_state=DIR]         exit 1 on any fault\n";

static bool read_all(int fd, struct buffer *out) {
    char bytes[4096];
    ssize_t n;
    while ((n = read(fd, bytes, sizeof bytes)) > 0) {
        if (!buffer_put(out, bytes, (size_t)n))
            return false;
    }
    return n == 0;
}

enum vrs_err vrsctl_call(const char *socket_path, json_t *request, json_t **reply) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct buffer line, answer;
    struct vrs_fault fault = {0};
    buffer_init(&line, 1 << 16);
    buffer_init(&answer, MAX_REPLY_BYTES);
    *reply = NULL;
    enum vrs_err e = ERR_IO;
    bool ok = json_write(&line, request) && buffer_puts(&line, "\n");
    json_decref(request);
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (ok && fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) == 0 &&
        write(fd, line.data, line.len) == (ssize_t)line.len && read_all(fd, &answer) &&
        answer.len > 0)
        e = json_parse(answer.data, answer.len, reply, &fault);
    if (fd >= 0)
        (void)close(fd);
    buffer_fini(&line);
    buffer_fini(&answer);
    return e;
}

static bool read_secret(char out[MAX_SECRET_BYTES]) {
    if (fgets(out, MAX_SECRET_BYTES, stdin) == NULL)
        return false;
    out[strcspn(out, "\r\n")] = '\0';
    return true;
}

/* name=value words into the request; false: a word without '='. */
static bool add_words(json_t *request, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        char *eq = strchr(argv[i], '=');
        char secret[MAX_SECRET_BYTES];
        if (eq == NULL)
            return false;
        *eq = '\0';
        const char *value = eq + 1;
        if (strcmp(value, "-") == 0) {
            if (!read_secret(secret))
                return false;
            value = secret;
        }
        (void)json_object_set_new(request, argv[i], json_string(value));
        secret_wipe(secret, sizeof secret);
    }
    return true;
}

static int command(const char *socket_path, const char *verb, int argc, char **argv) {
    json_t *request = json_pack("{s:s}", "verb", verb), *reply = NULL;
    if (!add_words(request, argc, argv)) {
        json_decref(request);
        (void)fputs(usage, stderr);
        return 2;
    }
    enum vrs_err e = vrsctl_call(socket_path, request, &reply);
    if (e != VRS_OK) {
        (void)fprintf(stderr, "vrsctl: vrs-server does not answer at %s\n", socket_path);
        return 1;
    }
    bool ok = json_is_true(json_object_get(reply, "ok"));
    bool under_way = json_is_true(json_object_get(reply, "under_way"));
    (void)json_dumpf(reply, ok ? stdout : stderr, JSON_INDENT(2));
    (void)fputc('\n', ok ? stdout : stderr);
    json_decref(reply);
    return !ok ? 1 : under_way ? 3 : 0;
}

static int municipalities(const char *path) {
    struct municipality_list *list = NULL;
    struct vrs_fault fault = {0};
    if (municipality_list_open(path, &list, &fault) != VRS_OK) {
        (void)fprintf(stderr, "vrsctl: %s\n", fault.text);
        return 1;
    }
    for (size_t i = 0; i < municipality_count(list); i++) {
        const struct municipality *m = municipality_at(list, i);
        (void)printf("%s %s%s\n", m->code.digits, m->prefecture, m->name);
    }
    municipality_list_close(&list);
    return 0;
}

int main(int argc, char **argv) {
    secret_install_allocators();
    log_init("vrsctl", LOG_WARN);
    if (argc >= 3 && strcmp(argv[1], "init") == 0)
        return vrsctl_init(argc - 2, argv + 2);
    if (argc == 3 && strcmp(argv[1], "signer.init") == 0)
        return vrsctl_signer_init(argv[2]);
    if (argc == 3 && strcmp(argv[1], "signer.new-key") == 0)
        return vrsctl_signer_new_key(argv[2]);
    if (argc == 3 && strcmp(argv[1], "allow-list.init") == 0)
        return vrsctl_allow_list_init(argv[2]);
    if (argc == 4 && strcmp(argv[1], "allow-list.sign") == 0)
        return vrsctl_allow_list_sign(argv[2], argv[3]);
    if (argc == 2 && (strcmp(argv[1], "version") == 0 || strcmp(argv[1], "--version") == 0)) {
        version_print(stdout, "vrsctl");
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "municipalities") == 0)
        return municipalities(argv[2]);
    if (argc >= 4 && strcmp(argv[1], "-s") == 0) {
        if (strcmp(argv[3], "terminal.issue") == 0)
            return vrsctl_terminal_issue(argv[2], argc - 4, argv + 4);
        if (strcmp(argv[3], "selfcheck") == 0)
            return vrsctl_selfcheck(argv[2], argc - 4, argv + 4);
        return command(argv[2], argv[3], argc - 4, argv + 4);
    }
    (void)fputs(usage, stderr);
    return 2;
}
