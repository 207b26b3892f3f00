#ifndef BOOTGATE_CLINUX_SHIM_H
#define BOOTGATE_CLINUX_SHIM_H

#include <sys/socket.h>
#include <sys/syscall.h>
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

#endif
