internal import LwM2M

/// Payloads of the formats that hold objects.
enum PayloadEntry {
    /// The paths that an input can be for, by its first byte; the root stands for a whole pack.
    private static let paths: [LwM2MPath] = [
        LwM2MPath(0), LwM2MPath(0, 0), .root, LwM2MPath(1), LwM2MPath(1, 0), LwM2MPath(2), LwM2MPath(21),
        LwM2MPath(21, 0), LwM2MPath(42), LwM2MPath(42, 0), LwM2MPath(42, 0, 0), LwM2MPath(0, 0, 0), LwM2MPath(0, 0, 3),
        LwM2MPath(0, 0, 10), LwM2MPath(2, 0, 2), LwM2MPath(0, 2),
    ]

    static func run(_ input: UnsafeRawBufferPointer, _ format: ContentFormat) throws(Finding) {
        guard let selector = input.first else { return }
        let path = Self.paths[Int(selector) % Self.paths.count]
        let payload = Array(input.dropFirst())
        if path == .root {
            try Self.pack(payload, format)
        } else {
            try Self.content(payload, format, at: path)
        }
    }

    static func runSingleValue(_ input: UnsafeRawBufferPointer) throws(Finding) {
        guard let selector = input.first else { return }
        let formats: [ContentFormat] = [.text, .octetStream, .cbor]
        let path = Self.paths[Int(selector) % Self.paths.count]
        if path == .root { return }
        try Self.content(Array(input.dropFirst()), formats[Int(selector >> 4) % 3], at: path)
    }

    private static func pack(_ payload: [UInt8], _ format: ContentFormat) throws(Finding) {
        guard let objects = try? PayloadCodec.decodePack(payload, format) else { return }
        _ = "\(objects)"
        let encoded: [UInt8]
        do { encoded = try PayloadCodec.encodePack(objects, format) } catch {
            throw Finding("what was decoded cannot be encoded: \(error)")
        }
        try Self.checkSize(encoded, of: payload)
        let again = try? PayloadCodec.decodePack(encoded, format)
        try Finding.check(again == objects, "a pack differs after encoding")
    }

    private static func content(
        _ payload: [UInt8], _ format: ContentFormat, at path: LwM2MPath
    ) throws(Finding) {
        let content: PathContent
        do { content = try PayloadCodec.decode(payload, format, at: path) } catch {
            _ = error.description
            return
        }
        _ = "\(content)"
        let encoded: [UInt8]
        do { encoded = try PayloadCodec.encode(content, format, at: path) } catch {
            throw Finding("what was decoded cannot be encoded: \(error)")
        }
        try Self.checkSize(encoded, of: payload)
        let again = try? PayloadCodec.decode(encoded, format, at: path)
        try Finding.check(again == content, "content differs after encoding")
        try Finding.check((try? PayloadCodec.encode(content, format, at: path)) == encoded, "encoding has two results")

        // What has a form in another format too means the same there.
        for other in [ContentFormat.tlv, .senMLJSON, .senMLCBOR, .lwm2mCBOR, .json] where other != format {
            guard let translated = try? PayloadCodec.encode(content, other, at: path),
                translated.count <= PayloadCodec.maximumSize
            else { continue }
            do {
                // Numbers may have had more bytes than they need.
                let back = try PayloadCodec.decode(translated, other, at: path)
                try Finding.check(
                    (try? PayloadCodec.encode(back, other, at: path)) == translated
                        && (Self.isOscore(path)
                            || Self.normalized(back, at: path) == Self.normalized(content, at: path)),
                    "content differs in format \(other.rawValue)"
                )
            } catch let error as Finding { throw error } catch {
                throw Finding("what was encoded in format \(other.rawValue) cannot be decoded: \(error)")
            }
        }
        Self.account(content)
    }

    private static func normalized(_ content: PathContent, at path: LwM2MPath) -> [UInt8]? {
        try? PayloadCodec.encode(content, .senMLCBOR, at: path)
    }

    /// Its keys may be strings, which is lost in TLV.
    private static func isOscore(_ path: LwM2MPath) -> Bool { path.objectID == 21 }

    /// Names are written out where a base name stood before; values are as long as they were.
    private static func checkSize(_ encoded: [UInt8], of payload: [UInt8]) throws(Finding) {
        let bound = 256 + payload.count * 40
        try Finding.check(encoded.count <= bound, "\(payload.count) bytes became \(encoded.count)")
    }

    /// What objects 0 and 1 hold is read as accounts, and never trusted.
    private static func account(_ content: PathContent) {
        let instances: [ObjectInstance]
        switch content {
        case .instances(let several): instances = several
        case .instance(let one): instances = [one]
        case .resource: return
        }
        for instance in instances {
            if let account = try? SecurityAccount(instance) {
                _ = (account.instance, account.cipherSuites, account.secondaryURIs, account.description)
                if let uri = try? ServerURI(account.uri) { _ = uri.description }
            }
            _ = try? ServerAccount(instance)
        }
    }
}
