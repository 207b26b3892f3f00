internal import CWolfSSL
internal import Glibc
internal import Secrets

// How a session leaves a process and goes on in the next one, without its peer taking part.
extension DTLSSession {
    /// Takes out of an established session of a server what is needed to go on with it, and ends it: silently, with no
    /// close_notify, so that its peer does not notice. A session can be exported once, because nothing is left of it.
    ///
    /// Datagrams that were sealed before can still be drained; plaintext that was opened should be read before.
    ///
    /// - Returns: nil for a client's session: it can shake hands again whenever it likes, which only the peer of a
    ///   server can do.
    /// - Throws: `notEstablished` during the handshake and after the end; `notExportable` before any data of the peer
    ///   came, because the library then still waits for proof that the handshake is over, and when the library cannot
    ///   bring the session back; `failure`. The session is what it was before, in all these cases.
    package func exportState() throws(DTLSError) -> DTLSSessionState? {
        guard self.context.role == .server else { return nil }
        guard case .established = self.phase, let library = self.library, let identity = self.identity,
            let suite = self.suite
        else { throw .notEstablished }
        guard bootgate_can_export() == 1 else {
            throw .notExportable("wolfSSL \(DTLSLibrary.version) was built without session export")
        }
        guard self.newestNumber > 0 else { throw .notExportable("no data of the device came yet") }
        let clientID = self.connectionID == nil ? [] : try Self.clientID(of: library)
        let export = try Self.export(library, suite: suite)
        self.end(.exported)
        return DTLSSessionState(
            identity: identity, suite: suite, connectionID: self.connectionID, clientID: clientID,
            newestNumber: self.newestNumber, export: export
        )
    }

    private static func export(_ library: OpaquePointer, suite: CipherSuite) throws(DTLSError) -> Secret {
        let half = DTLSSessionState.longestExport
        let (export, result) = withUnsafeTemporaryAllocation(byteCount: 2 * half, alignment: 8) {
            buffer -> (Secret?, Int32) in
            defer { if let base = buffer.baseAddress { explicit_bzero(base, buffer.count) } }
            let result = bootgate_export(library, buffer.baseAddress, UInt32(half))
            guard result > 0, Int(result) <= half else { return (nil, result) }
            let export = UnsafeRawBufferPointer(rebasing: buffer[..<Int(result)])
            guard suite.isCCM else { return (Secret(copying: export), result) }
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[half...])
            guard let count = LibraryExport.continueCCMNonces(export, into: target) else { return (nil, result) }
            return (Secret(copying: UnsafeRawBufferPointer(rebasing: target[..<count])), result)
        }
        if let export { return export }
        guard result <= 0 else {
            throw .notExportable("wolfSSL \(DTLSLibrary.version) exports sessions in an unknown form")
        }
        throw .failure(call: "wolfSSL_dtls_export", code: result)
    }

    /// What the client wants in our records.
    private static func clientID(of library: OpaquePointer) throws(DTLSError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: DTLSSessionState.longestClientID)
        let count = bootgate_client_connection_id(library, &bytes, UInt32(bytes.count))
        guard count >= 0, count <= bytes.count else {
            throw .notExportable("the device has a connection ID longer than \(bytes.count) bytes")
        }
        guard count == 0 || bootgate_can_restore_client_id() == 1 else {
            throw .notExportable(
                "the device has a connection ID of its own, which wolfSSL \(DTLSLibrary.version) cannot restore"
            )
        }
        return Array(bytes.prefix(Int(count)))
    }

    /// Makes the new object of this session the one that `state` was taken from.
    func importState(_ state: DTLSSessionState, from peer: DTLSPeer) throws(DTLSError) {
        let library = try self.makeLibraryObject()
        let isAddressed = peer.withBytes { address in
            // The library only reads and copies the address, although its parameter says otherwise.
            let start = UnsafeMutableRawPointer(mutating: address.baseAddress)
            return wolfSSL_dtls_set_peer(library, start, UInt32(address.count)) == 1
        }
        guard isAddressed else { throw .failure(call: "wolfSSL_dtls_set_peer", code: 0) }
        let result = state.export.withUnsafeBytes { bootgate_import(library, $0.baseAddress, UInt32($0.count)) }
        guard result > 0, wolfSSL_is_init_finished(library) == 1 else {
            throw .savedState("wolfSSL refuses it with error \(result)")
        }
        let suite = CipherSuite(rawValue: UInt16(truncatingIfNeeded: wolfSSL_get_current_cipher_suite(library)))
        guard suite == state.suite else { throw .savedState("it is damaged") }
        guard let connectionID = state.connectionID else { return }
        try Self.use(connectionID, in: library)
        guard !state.clientID.isEmpty else { return }
        let field = [UInt8(truncatingIfNeeded: state.clientID.count)] + state.clientID
        guard bootgate_restore_client_id(library, field, UInt16(truncatingIfNeeded: field.count)) == 1 else {
            throw .savedState("wolfSSL cannot restore the connection ID of the device")
        }
    }
}
