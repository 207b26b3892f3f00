internal import ArgumentParser
internal import CCoAPStack

/// The keys of a server that demands DTLS. libcoap keeps a pointer to it, so it lives as long as the program.
final class ServerKeys {
    private var keys: [[UInt8]: UnsafeMutablePointer<coap_bin_const_t>] = [:]
    /// The key of every identity that has none of its own.
    private var general: UnsafeMutablePointer<coap_bin_const_t>?

    /// Reads `IDENTITY=HEXADECIMAL`; `*` is every identity.
    init(parsing entries: [String]) throws {
        for entry in entries {
            guard let mark = entry.lastIndex(of: "="), let key = bytes(hexadecimal: String(entry[mark...].dropFirst())),
                !key.isEmpty
            else { throw ArgumentProblem(description: "'\(entry)' is no key: write IDENTITY=HEXADECIMAL") }
            let stored = coap_new_bin_const(key, key.count)
            if entry[..<mark] == "*" { self.general = stored } else { self.keys[Array(entry[..<mark].utf8)] = stored }
        }
    }

    /// Makes `context` ask here for the key of each client.
    func serve(_ context: OpaquePointer) -> Bool {
        var setup = coap_dtls_spsk_t()
        setup.version = UInt8(COAP_DTLS_SPSK_SETUP_VERSION)
        setup.validate_id_call_back = { identity, _, keys in
            guard let identity, let keys else { return nil }
            return UnsafePointer(Unmanaged<ServerKeys>.fromOpaque(keys).takeUnretainedValue().key(of: identity.pointee))
        }
        setup.id_call_back_arg = Unmanaged.passRetained(self).toOpaque()
        // A hint must be there, although clients of LwM2M ignore it; the key is the callback's to find.
        return withUnsafePointer(to: UInt8(0)) { nothing in
            setup.psk_info.hint = coap_bin_const_t(length: 0, s: nothing)
            setup.psk_info.key = coap_bin_const_t(length: 0, s: nothing)
            return coap_context_set_psk2(context, &setup) == 1
        }
    }

    private func key(of identity: coap_bin_const_t) -> UnsafeMutablePointer<coap_bin_const_t>? {
        let bytes = Array(UnsafeBufferPointer(start: identity.s, count: identity.length))
        return self.keys[bytes] ?? self.general
    }
}

/// What a server takes that may demand DTLS.
struct ServerSecurityOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Demand DTLS, and know this key; may be given several times. The identity * stands for every other.",
            valueName: "identity=hexadecimal"
        )
    )
    var psk: [String] = []

    /// Opens the socket of a server and returns its port.
    func listen(_ stack: CoAPStack, on address: String) throws -> UInt16 {
        let address = try SocketAddress(parsing: address)
        return try stack.listen(on: address, keys: self.psk.isEmpty ? nil : try ServerKeys(parsing: self.psk))
    }
}
