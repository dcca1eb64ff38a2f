/* A PKCS#11 module that passes every call on to another one, and fails on order: the file FAULTY_ORDERS names one
 * function, one fault and how many calls to let pass first, and is removed by the call that it happens to. It also talks on standard output and reads
 * standard input, as bad modules do. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef struct { unsigned char version[2]; void *call[68]; } functions;

enum { INITIALIZE = 0, MECHANISMS = 7, OPEN_SESSION = 12, CLOSE_SESSION = 13, LOGIN = 18, LOGOUT = 19, ATTRIBUTES = 24, GENERATE_PAIR = 59, SIGN_INIT = 42, SIGN = 43 };

static functions real, ours;
static long open_sessions;

/* 0 where nothing is ordered for this function; else the return code, after doing what is to be done. */
static ulong fault(const char *function, ulong session, int *wrong)
{
    char name[64], what[64];
    const char *orders = getenv("FAULTY_ORDERS");
    FILE *file = orders ? fopen(orders, "r") : NULL;
    if (!file) return 0;
    int skipped = 0, read = fscanf(file, "%63s %63s %d", name, what, &skipped);
    fclose(file);
    if (read < 2 || strcmp(name, function) != 0) return 0;
    if (skipped > 0) {
        if ((file = fopen(orders, "w"))) { fprintf(file, "%s %s %d\n", name, what, skipped - 1); fclose(file); }
        return 0;
    }
    if (unlink(orders) != 0) return 0;
    if (strcmp(what, "HANG") == 0) for (;;) pause();
    if (strncmp(what, "SLEEP", 5) == 0) { sleep((unsigned)atoi(what + 5)); return 0; }
    if (strcmp(what, "ABORT") == 0) abort();
    if (strcmp(what, "EXIT") == 0) _exit(0);
    if (strcmp(what, "LOGOUT") == 0) { ((ulong (*)(ulong))real.call[LOGOUT])(session); return 0; }
    if (strcmp(what, "WRONG") == 0) { if (wrong) *wrong = 1; return 0; }
    return strtoul(what, NULL, 0);
}

static ulong initialize(void *arguments)
{
    char answer[16];
    if (write(1, "a module that talks\n", 20) < 0 || read(0, answer, sizeof answer) > 0) return 5;
    return ((ulong (*)(void *))real.call[INITIALIZE])(arguments);
}

static int hidden(ulong mechanism)
{
    char number[32];
    const char *hides = getenv("FAULTY_HIDES");
    snprintf(number, sizeof number, "0x%lx,", mechanism);
    return hides && strstr(hides, number) != NULL;
}

static ulong mechanisms(ulong slot, ulong *list, ulong *count)
{
    ulong kept = 0, code = ((ulong (*)(ulong, ulong *, ulong *))real.call[MECHANISMS])(slot, list, count);
    if (code != 0 || !list) return code;
    for (ulong i = 0; i < *count; i++) if (!hidden(list[i])) list[kept++] = list[i];
    *count = kept;
    return 0;
}

static ulong open_session(ulong slot, ulong flags, void *application, void *notify, ulong *session)
{
    const char *most = getenv("FAULTY_SESSIONS");
    ulong code = fault("C_OpenSession", 0, NULL);
    if (code) return code;
    if (most && __atomic_load_n(&open_sessions, __ATOMIC_SEQ_CST) >= atol(most)) return 0xB1;
    code = ((ulong (*)(ulong, ulong, void *, void *, ulong *))real.call[OPEN_SESSION])(slot, flags, application, notify, session);
    if (code == 0) __atomic_add_fetch(&open_sessions, 1, __ATOMIC_SEQ_CST);
    return code;
}

/* FAULTY_SESSIONS: a session more than this many is CKR_SESSION_COUNT. Each C_CloseSession is a line in FAULTY_CLOSED. */
static ulong close_session(ulong session)
{
    const char *closed = getenv("FAULTY_CLOSED");
    FILE *file = closed ? fopen(closed, "a") : NULL;
    if (file) { fprintf(file, "%lu\n", session); fclose(file); }
    __atomic_sub_fetch(&open_sessions, 1, __ATOMIC_SEQ_CST);
    return ((ulong (*)(ulong))real.call[CLOSE_SESSION])(session);
}

static ulong login(ulong session, ulong user, void *pin, ulong length)
{
    ulong code = fault("C_Login", session, NULL);
    return code ? code : ((ulong (*)(ulong, ulong, void *, ulong))real.call[LOGIN])(session, user, pin, length);
}

static ulong attributes(ulong session, ulong object, void *template, ulong count)
{
    ulong code = fault("C_GetAttributeValue", session, NULL);
    return code ? code : ((ulong (*)(ulong, ulong, void *, ulong))real.call[ATTRIBUTES])(session, object, template, count);
}

static ulong sign_init(ulong session, void *mechanism, ulong key)
{
    ulong code = fault("C_SignInit", session, NULL);
    return code ? code : ((ulong (*)(ulong, void *, ulong))real.call[SIGN_INIT])(session, mechanism, key);
}

static ulong sign(ulong session, void *data, ulong length, unsigned char *signature, ulong *signature_length)
{
    int wrong = 0;
    ulong code = signature ? fault("C_Sign", session, &wrong) : 0;
    if (code) return code;
    code = ((ulong (*)(ulong, void *, ulong, void *, ulong *))real.call[SIGN])(session, data, length, signature, signature_length);
    if (wrong) signature[0] ^= 1;
    return code;
}

static ulong generate_pair(ulong session, void *mechanism, void *a, ulong b, void *c, ulong d, void *e, void *f)
{
    ulong code = fault("C_GenerateKeyPair", session, NULL);
    return code ? code : ((ulong (*)(ulong, void *, void *, ulong, void *, ulong, void *, void *))real.call[GENERATE_PAIR])(session, mechanism, a, b, c, d, e, f);
}

ulong C_GetFunctionList(functions **list)
{
    functions *found = NULL;
    void *library = dlopen(getenv("FAULTY_MODULE"), RTLD_NOW | RTLD_LOCAL);
    ulong (*get)(functions **) = library ? (ulong (*)(functions **))dlsym(library, "C_GetFunctionList") : NULL;
    if (!get || get(&found) != 0) return 5;
    real = ours = *found;
    ours.call[INITIALIZE] = initialize;
    ours.call[MECHANISMS] = mechanisms;
    ours.call[OPEN_SESSION] = open_session;
    ours.call[CLOSE_SESSION] = close_session;
    ours.call[LOGIN] = login;
    ours.call[ATTRIBUTES] = attributes;
    ours.call[SIGN_INIT] = sign_init;
    ours.call[SIGN] = sign;
    ours.call[GENERATE_PAIR] = generate_pair;
    *list = &ours;
    return 0;
}
