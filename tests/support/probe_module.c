/* A PKCS#11 module that tries what a module has no business to do, reports how it went, and is SoftHSM otherwise.
 * PROBE_MODULE: the real module. PROBE_REPORT: where to write. PROBE_FOREIGN: a file that it should not write to.
 * PROBE_HANG: where this file is, C_Sign does not come back; PROBE_HANG_LOGIN: nor C_Login. PROBE_PORT: a TCP port on loopback that listens. PROBE_FD: a descriptor that the server forgot to mark. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static FILE *report;

/* Every attempt does no harm where nothing hinders it: a filter answers before the kernel looks at the arguments. */
#define NOBODY 0x3ffffff0

static void tell(const char *what, long result) {
    fprintf(report, "%s %s\n", what, result >= 0 ? "works" : strerrorname_np(errno));
}

static int variable(const char *name) {
    const char *value = getenv(name);
    return value ? atoi(value) : -1;
}

static long run_program(void) {
    pid_t child = fork();
    if (child == 0) {
        char *const arguments[] = {"true", NULL}, *const none[] = {NULL};
        execve("/bin/true", arguments, none);
        _exit(errno);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return -1;
    errno = WEXITSTATUS(status);
    return errno == 0 ? 0 : -1;
}

static long connect_tcp(void) {
    int tcp = socket(AF_INET, SOCK_STREAM, 0);
    if (tcp < 0)
        return -1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)variable("PROBE_PORT"))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(tcp, (struct sockaddr *)&address, sizeof address);
}

static long read_server(void) {
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)&report, 1};
    return process_vm_readv(getppid(), &here, 1, &there, 1, 0);
}

static long new_user_namespace_by_clone(void) {
    pid_t child = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        _exit(0);
    if (child > 0)
        waitpid(child, NULL, 0);
    return child;
}

static void tell_status(const char *name) {
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, name, strlen(name)) == 0)
            fprintf(report, "%s", line);
    if (status)
        fclose(status);
}

static void probe(void) {
    report = fopen(getenv("PROBE_REPORT"), "w");
    if (!report)
        return;
    tell("tcp", connect_tcp());
    tell("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
    tell("unix", socket(AF_UNIX, SOCK_STREAM, 0));
    tell("packet", socket(AF_PACKET, SOCK_RAW, 0));
    tell("program", run_program());
    tell("memory", read_server());
    tell("trace", ptrace(PTRACE_ATTACH, NOBODY, 0, 0));
    tell("signal", kill(getppid(), 0));
    tell("namespace", unshare(CLONE_NEWUSER));
    tell("clone", new_user_namespace_by_clone());
    tell("mount", mount("none", "/no/such/place", "tmpfs", 0, ""));
    tell("bpf", syscall(SYS_bpf, 0, NULL, 0));
    tell("ring", syscall(SYS_io_uring_setup, 1, NULL));
    tell("read", open("/etc/passwd", O_RDONLY));
    tell("write", open(getenv("PROBE_FOREIGN"), O_WRONLY | O_CREAT, 0600));
    tell("inherited", fcntl(variable("PROBE_FD"), F_GETFD));
    tell("environment", getenv("CARGO_MANIFEST_DIR") ? 0 : (errno = ENOENT, -1));
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    fprintf(report, "files %lu\n", (unsigned long)files.rlim_max);
    fprintf(report, "dumpable %d\n", prctl(PR_GET_DUMPABLE));
    tell_status("NoNewPrivs:");
    tell_status("CapEff:");
    tell_status("CapPrm:");
    tell_status("CapBnd:");
    tell_status("Seccomp:");
    fclose(report);
}

/* CK_FUNCTION_LIST of PKCS#11 2.40. */
struct functions {
    unsigned char version[2];
    void *all[68];
};
#define C_LOGIN 18
#define C_SIGN 43

typedef unsigned long (*sign_function)(unsigned long, unsigned char *, unsigned long, unsigned char *, unsigned long *);
typedef unsigned long (*login_function)(unsigned long, unsigned long, unsigned char *, unsigned long);
static struct functions functions;
static sign_function real_sign;
static login_function real_login;

static void hang_while_there_is(const char *name) {
    while (getenv(name) && access(getenv(name), F_OK) == 0)
        usleep(1000);
}

static unsigned long login(unsigned long session, unsigned long user, unsigned char *pin, unsigned long length) {
    hang_while_there_is("PROBE_HANG_LOGIN");
    return real_login(session, user, pin, length);
}

static unsigned long sign(unsigned long session, unsigned char *data, unsigned long length, unsigned char *signature,
                          unsigned long *signature_length) {
    hang_while_there_is("PROBE_HANG");
    return real_sign(session, data, length, signature, signature_length);
}

unsigned long C_GetFunctionList(void **list) {
    if (getenv("PROBE_REPORT"))
        probe();
    void *module = dlopen(getenv("PROBE_MODULE"), RTLD_NOW);
    if (!module)
        return 5;
    unsigned long (*real)(void **) = (unsigned long (*)(void **))dlsym(module, "C_GetFunctionList");
    void *theirs = NULL;
    if (!real || real(&theirs) != 0)
        return 5;
    memcpy(&functions, theirs, sizeof functions);
    real_sign = (sign_function)functions.all[C_SIGN];
    functions.all[C_SIGN] = (void *)sign;
    real_login = (login_function)functions.all[C_LOGIN];
    functions.all[C_LOGIN] = (void *)login;
    *list = &functions;
    return 0;
}
