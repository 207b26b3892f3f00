#ifndef BOOTGATE_CLINUX_SHIM_H
#define BOOTGATE_CLINUX_SHIM_H

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* struct mmsghdr, which the C library shows to GNU sources only. */
struct bootgate_message {
    struct msghdr header;
    unsigned int sent;
};

/* sendmmsg(2): how many of the messages went out, or -1 with errno when not even the first one did. */
static inline int bootgate_send_messages(int socket, struct bootgate_message *messages, unsigned int count)
{
    return (int)syscall(SYS_sendmmsg, socket, messages, count, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* 1 when what is in the folder `path` lies in memory and is gone after a reboot, 0 when it does not, -1 with errno. */
static inline int bootgate_is_in_memory(const char *path)
{
    struct statfs status;
    if (statfs(path, &status) != 0) return -1;
    /* tmpfs, ramfs */
    return status.f_type == 0x01021994 || (unsigned int)status.f_type == 0x858458f6u;
}

#endif
