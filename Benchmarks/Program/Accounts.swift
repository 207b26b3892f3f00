internal import CoAP
internal import Gateway
internal import LwM2M
internal import Secrets

/// The write of one server account, as a bootstrap server sends it to each device.
enum Accounts {
    static let instance = ObjectInstance(
        id: 0,
        resources: [
            Resource(id: 0, value: .single(ResourceValue.bytes("coap://10.1.0.20:5683"))),
            Resource(id: 1, value: .single(ResourceValue.bytes(false))),
            Resource(id: 2, value: .single(ResourceValue.bytes(Int64(0)))),
            Resource(id: 3, value: .single(Array("urn:imei:350123456789012".utf8))),
            Resource(id: 5, value: .single([UInt8](repeating: 0xA7, count: 16))),
            Resource(id: 10, value: .single(ResourceValue.bytes(Int64(1111)))),
            Resource(id: 11, value: .single(ResourceValue.bytes(Int64(30)))),
        ]
    )

    static let formats: [(name: String, format: ContentFormat)] = [
        ("TLV", .tlv), ("SenML JSON", .senMLJSON), ("SenML CBOR", .senMLCBOR), ("LwM2M CBOR", .lwm2mCBOR),
        ("OMA JSON", .json),
    ]

    static func measure(_ harness: Harness) throws {
        let path = LwM2MPath(0, 0)
        let content = PathContent.instance(Self.instance)
        for (name, format) in Self.formats {
            let payload = try PayloadCodec.encode(content, format, at: path)
            harness.measure("\(name): decode an account", bytes: payload.count) {
                (try? PayloadCodec.decode(payload, format, at: path)) == nil ? .min : 1
            }
            harness.measure("\(name): encode an account", bytes: payload.count) {
                (try? PayloadCodec.encode(content, format, at: path))?.count ?? .min
            }
        }
        let payload = try PayloadCodec.encode(content, .tlv, at: path)
        let request = CoAPRequest(.put, path: ["0", "0"], contentFormat: 11542, payload: payload)
        let message = CoAPMessage(
            type: .confirmable, code: .put, messageID: 1, token: CoAPToken(0x0102_0304_0506_0708),
            options: request.options, payload: payload
        )
        let datagram = CoAPCodec.encode(message)
        harness.measure("CoAP: decode the write of an account", bytes: datagram.count) {
            datagram.withUnsafeBytes { (try? CoAPCodec.decode($0)) == nil ? .min : 1 }
        }
        harness.measure("CoAP: encode the write of an account", bytes: datagram.count) {
            CoAPCodec.encode(message).count
        }
        try Self.measureRewriter(harness, payload)
    }

    private static func measureRewriter(_ harness: Harness, _ payload: [UInt8]) throws {
        let secure = try ServerURI("coaps://edge.example.net:5684")
        let plain = try ServerURI("coap://edge.example.net:5683")
        let rule = GatewayConfiguration.ServerRule(
            name: "meters", matchURI: try ServerURI("coap://10.1.0.20:5683"), matchShortServerID: 1111,
            device: .init(secure: secure, plain: plain), relay: nil
        )
        guard let identity = PSKIdentity("8988228066602306770"), let minted = PSKIdentity("one-time-identity") else {
            preconditionFailure("an identity of letters is one")
        }
        let key = Secret([UInt8](repeating: 0xB0, count: 16))
        let fresh = AccountRewriter(
            servers: [rule], unmatched: .refuse, account: .init(secure: secure, plain: plain), arrival: .dtls,
            bootstrapIdentity: identity, bootstrapKey: key
        )
        harness.measure("Rewriter: one account of a new bootstrap", bytes: payload.count) {
            var rewriter = fresh
            let written = try? rewriter.rewrite(path: ["0", "0"], contentFormat: 11542, payload: payload) { _, _ in
                (minted, key)
            }
            return written?.payload.count ?? .min
        }
    }
}
