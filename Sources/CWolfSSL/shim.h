#ifndef BOOTGATE_CWOLFSSL_SHIM_H
#define BOOTGATE_CWOLFSSL_SHIM_H

// The options that the library was built with come first: they decide the layout of its structures.
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/version.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/hmac.h>

// What follows is macros, build options and one structure that Swift cannot see. Everything compiles against the
// library of Debian 12 (5.5.4) as well.

// Constants of one type, whether the library spells them as macros or in enumerations.
static const int bootgate_error_want_read = WOLFSSL_ERROR_WANT_READ;
static const int bootgate_error_want_write = WOLFSSL_ERROR_WANT_WRITE;
static const int bootgate_error_zero_return = WOLFSSL_ERROR_ZERO_RETURN;
static const int bootgate_error_size = DTLS_SIZE_ERROR;
static const int bootgate_error_fatal_alert = FATAL_ERROR;
static const int bootgate_io_want_read = WOLFSSL_CBIO_ERR_WANT_READ;
static const int bootgate_io_general = WOLFSSL_CBIO_ERR_GENERAL;
static const long bootgate_session_cache_off = WOLFSSL_SESS_CACHE_OFF;

/// The version of these headers, as `wolfSSL_lib_version_hex` spells it.
static inline unsigned int bootgate_header_version(void) { return LIBWOLFSSL_VERSION_HEX; }

/// 1 when suites with a plain pre-shared key were compiled in.
static inline int bootgate_has_static_psk(void) {
#ifdef WOLFSSL_STATIC_PSK
    return 1;
#else
    return 0;
#endif
}

/// 1 when the library repeats a flight only when it is told to, and not for every repeated datagram of the peer.
static inline int bootgate_repeats_only_when_told(void) {
#ifdef WOLFSSL_DTLS_RESEND_ONLY_TIMEOUT
    return 1;
#else
    return 0;
#endif
}

/// Sets the largest UDP payload of all sessions of `context`: 1, or 0 when that failed or is not compiled in.
static inline int bootgate_set_mtu(WOLFSSL_CTX *context, unsigned short mtu) {
#ifdef WOLFSSL_DTLS_MTU
    return wolfSSL_CTX_dtls_set_mtu(context, mtu) == WOLFSSL_SUCCESS;
#else
    (void)context;
    (void)mtu;
    return 0;
#endif
}

/// Makes the sessions of a client's `context` offer X25519 and P-256 alone, the cheapest first: some servers take the
/// first one that is offered, and the library would begin with P-521. Without the build option, its own list stays.
static inline void bootgate_offer_cheap_curves(WOLFSSL_CTX *context) {
#ifdef HAVE_SUPPORTED_CURVES
#ifdef HAVE_CURVE25519
    (void)wolfSSL_CTX_UseSupportedCurve(context, WOLFSSL_ECC_X25519);
#endif
    (void)wolfSSL_CTX_UseSupportedCurve(context, WOLFSSL_ECC_SECP256R1);
#else
    (void)context;
#endif
}

/// Offers (client) or accepts (server) connection IDs; `count` bytes of `bytes` are the one that the peer's records have
/// to carry, none for 0. Before the first hello of the session: 1, or 0 when that failed or is not compiled in.
static inline int bootgate_use_connection_id(WOLFSSL *session, const void *bytes, unsigned int count) {
#ifdef WOLFSSL_DTLS_CID
    if (wolfSSL_dtls_cid_use(session) != WOLFSSL_SUCCESS) return 0;
    // The library only copies the bytes, although its parameter says otherwise.
    return count == 0 || wolfSSL_dtls_cid_set(session, (unsigned char *)bytes, count) == WOLFSSL_SUCCESS;
#else
    (void)session;
    (void)bytes;
    (void)count;
    return 0;
#endif
}

/// 1 when a server's session has taken up the connection IDs that its client offered.
static inline int bootgate_has_connection_id(WOLFSSL *session) {
#ifdef WOLFSSL_DTLS_CID
    return wolfSSL_dtls_cid_is_enabled(session);
#else
    (void)session;
    return 0;
#endif
}

/// The length of the longest connection ID that the library can put into its records; -1 when it knows none at all.
static inline int bootgate_longest_connection_id(void) {
#ifdef WOLFSSL_DTLS_CID
    return wolfSSL_dtls_cid_max_size();
#else
    return -1;
#endif
}

// What only the library itself may call. It is declared for the one version whose source was read for it, and weak: it
// is null where the library keeps it to itself.
#if defined(WOLFSSL_DTLS_CID) && LIBWOLFSSL_VERSION_HEX == 0x05009002
extern int TLSX_ConnectionID_Parse(WOLFSSL *, const unsigned char *, unsigned short, unsigned char)
    __attribute__((weak));
#endif

/// 1 when a restored session can be told the connection ID that its client wants in our records.
static inline int bootgate_can_restore_client_id(void) {
#if defined(WOLFSSL_DTLS_CID) && LIBWOLFSSL_VERSION_HEX == 0x05009002
    return TLSX_ConnectionID_Parse != NULL;
#else
    return 0;
#endif
}

/// The connection ID that the client of a server's session wants in our records: its bytes into `bytes`, their number as
/// the result, 0 when it wants none; -1 when there is no room for it.
static inline int bootgate_client_connection_id(WOLFSSL *session, unsigned char *bytes, unsigned int capacity) {
#ifdef WOLFSSL_DTLS_CID
    unsigned int count = 0;
    if (!wolfSSL_dtls_cid_is_enabled(session)) return 0;
    if (wolfSSL_dtls_cid_get_tx_size(session, &count) != WOLFSSL_SUCCESS || count > capacity) return -1;
    if (count > 0 && wolfSSL_dtls_cid_get_tx(session, bytes, capacity) != WOLFSSL_SUCCESS) return -1;
    return (int)count;
#else
    (void)session;
    (void)bytes;
    (void)capacity;
    return 0;
#endif
}

/// Gives a restored session of a server the connection ID that its client wants, after `bootgate_use_connection_id`:
/// `extension` is one byte with its length, then the ID. 1 when that worked.
static inline int bootgate_restore_client_id(WOLFSSL *session, const void *extension, unsigned short count) {
#if defined(WOLFSSL_DTLS_CID) && LIBWOLFSSL_VERSION_HEX == 0x05009002
    return TLSX_ConnectionID_Parse != NULL
        && TLSX_ConnectionID_Parse(session, (const unsigned char *)extension, count, 1) == 0;
#else
    (void)session;
    (void)extension;
    (void)count;
    return 0;
#endif
}

/// 1 when established sessions can be exported and imported.
static inline int bootgate_can_export(void) {
#ifdef WOLFSSL_SESSION_EXPORT
    return 1;
#else
    return 0;
#endif
}

#ifdef WOLFSSL_SESSION_EXPORT
static inline int bootgate_get_no_peer(WOLFSSL *session, char *address, int *count, unsigned short *port, int *family) {
    (void)session;
    (void)address;
    *count = 0;
    *port = 0;
    *family = 0;
    return WOLFSSL_SUCCESS;
}

static inline int bootgate_set_no_peer(WOLFSSL *session, char *address, int count, unsigned short port, int family) {
    (void)session;
    (void)address;
    (void)count;
    (void)port;
    (void)family;
    return WOLFSSL_SUCCESS;
}
#endif

/// Leaves the peer's address out of exported sessions of `context`: it is not a socket's address that the library has.
static inline void bootgate_export_without_peer(WOLFSSL_CTX *context) {
#ifdef WOLFSSL_SESSION_EXPORT
    wolfSSL_CTX_SetIOGetPeer(context, bootgate_get_no_peer);
    wolfSSL_CTX_SetIOSetPeer(context, bootgate_set_no_peer);
#else
    (void)context;
#endif
}

/// Writes `session` into `bytes`: how many bytes that were, or an error below 0, or 0 when that is not compiled in.
static inline int bootgate_export(WOLFSSL *session, void *bytes, unsigned int capacity) {
#ifdef WOLFSSL_SESSION_EXPORT
    unsigned int count = capacity;
    return wolfSSL_dtls_export(session, (unsigned char *)bytes, &count);
#else
    (void)session;
    (void)bytes;
    (void)capacity;
    return 0;
#endif
}

/// Makes the new object `session` what `bytes` say, and gives the memory back that only a handshake needs: how many bytes
/// were read, or an error below 0, or 0 when that is not compiled in.
static inline int bootgate_import(WOLFSSL *session, const void *bytes, unsigned int count) {
#ifdef WOLFSSL_SESSION_EXPORT
    int result = wolfSSL_dtls_import(session, (const unsigned char *)bytes, count);
    if (result > 0) {
        wolfSSL_FreeArrays(session);
        (void)wolfSSL_FreeHandshakeResources(session);
    }
    return result;
#else
    (void)session;
    (void)bytes;
    (void)count;
    return 0;
#endif
}

/// One piece of the input of a cookie.
typedef struct bootgate_bytes {
    const void *start;
    unsigned int count;
} bootgate_bytes;

/// The cookie of a ClientHello: HMAC-SHA-256 over `pieces`, 32 bytes into `cookie`. 0 when it worked. On the stack: no
/// allocation.
static inline int bootgate_cookie(const void *secret, unsigned int secretCount, const bootgate_bytes *pieces,
                                  unsigned int pieceCount, unsigned char *cookie) {
    Hmac hmac;
    int result = wc_HmacInit(&hmac, NULL, INVALID_DEVID);
    if (result != 0) return result;
    result = wc_HmacSetKey(&hmac, WC_SHA256, (const unsigned char *)secret, secretCount);
    for (unsigned int index = 0; result == 0 && index < pieceCount; index++) {
        if (pieces[index].count == 0) continue;
        result = wc_HmacUpdate(&hmac, (const unsigned char *)pieces[index].start, pieces[index].count);
    }
    if (result == 0) result = wc_HmacFinal(&hmac, cookie);
    wc_HmacFree(&hmac);
    return result;
}

#endif
