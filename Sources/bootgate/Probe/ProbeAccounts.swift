internal import CoAP
internal import LwM2M
internal import Secrets

/// What a bootstrap server writes into the probe: the Security objects, kept as a device would keep them.
///
/// A value without input or output: requests in, answers out.
struct ProbeAccounts {
    private(set) var accounts: [UInt16: SecurityAccount] = [:]
    /// The server has sent Bootstrap-Finish.
    private(set) var isFinished = false
    /// Writes that could not be read, in the order in which they came.
    private(set) var refusals: [String] = []

    /// The answer to one request of the server. What is no concern of a probe is taken like a device would, and forgotten.
    mutating func answer(_ request: CoAPRequest) -> CoAPResponse {
        let segments = request.uriPath ?? [""]
        if request.code == .post, segments == ["bs"] {
            self.isFinished = true
            return CoAPResponse(.changed)
        }
        guard let path = try? LwM2MPath(segments: segments) else { return CoAPResponse(.badRequest) }
        switch request.code {
        case .get: return Self.discovered(request)
        case .delete:
            self.delete(path)
            return CoAPResponse(.deleted)
        case .put where path.objectID == 0: return self.write(request, at: path)
        case .put: return CoAPResponse(.changed)
        default: return CoAPResponse(.methodNotAllowed)
        }
    }

    /// The first LwM2M server, by instance; the bootstrap server's own account does not count.
    var server: SecurityAccount? {
        self.accounts.sorted { $0.key < $1.key }.first { !$0.value.isBootstrapServer }?.value
    }

    private mutating func delete(_ path: LwM2MPath) {
        if let instance = path.instanceID {
            if path.objectID == 0 { self.accounts[instance] = nil }
        } else if path.objectID == nil || path.objectID == 0 {
            // A device keeps its bootstrap account (LwM2M 1.0.2, 5.2.7.5); the probe never has one before it is written.
            self.accounts = self.accounts.filter { $0.value.isBootstrapServer }
        }
    }

    private mutating func write(_ request: CoAPRequest, at path: LwM2MPath) -> CoAPResponse {
        let format = ContentFormat(rawValue: request.contentFormat ?? ContentFormat.tlv.rawValue)
        guard PayloadCodec.supports(format) else {
            self.refusals.append("content format \(format)")
            return CoAPResponse(.unsupportedContentFormat)
        }
        do {
            switch try PayloadCodec.decode(request.payload, format, at: path) {
            case .instances(let instances): for instance in instances { try self.keep(instance) }
            case .instance(let instance): try self.keep(instance)
            case .resource: break
            }
        } catch {
            self.refusals.append("\(path): \(error)")
            return CoAPResponse(.badRequest)
        }
        return CoAPResponse(.changed)
    }

    private mutating func keep(_ instance: ObjectInstance) throws(AccountError) {
        self.accounts[instance.id] = try SecurityAccount(instance)
    }

    /// Bootstrap-Discover of a device whose bootstrap account is instance 1.
    private static func discovered(_ request: CoAPRequest) -> CoAPResponse {
        guard request.accept == nil || request.accept == ContentFormat.linkFormat.rawValue else {
            return CoAPResponse(.notAcceptable)
        }
        return CoAPResponse(
            .content, contentFormat: ContentFormat.linkFormat.rawValue,
            payload: Array("</>;lwm2m=1.0,</0/1>,</1>,</3/0>".utf8)
        )
    }
}
