package import LwM2M

/// What a request on a bootstrap leg asks for, decided by its direction, method and path (spec 1.1).
///
/// The direction comes first: `POST /bs` opens a bootstrap when a device sends it and ends one when a server does. Paths are
/// parsed strictly and are spelled anew when they are passed on (T26).
package enum BootstrapOperation: Sendable, Hashable {
    /// From the device: `POST /bs`.
    case request
    /// From the server: `POST /bs`.
    case finish
    /// From the server: `PUT` to an object, an instance or a resource. ``AccountRewriter`` decides about it.
    case write(LwM2MPath)
    /// From the server: `DELETE` of the root, an object or an instance. A payload means nothing and is left out (T37).
    case delete(LwM2MPath)
    /// From the server: `GET` of the root or an object as a list of links.
    case discover(LwM2MPath)
    /// From the server: `GET` of object 1 or 2 or an instance of them, in any format that the device chooses or is asked for.
    case read(LwM2MPath)
    /// From the device: nothing of the bootstrap interface. The registration leg has its own rules.
    case other
    /// Answered at once with this CoAP code and never passed on.
    case refused(code: UInt8)

    /// Who sent the request.
    package enum Sender: Sendable {
        case device, server
    }

    /// `method` is the CoAP code of the request, 0.01 to 0.07; `path` the values of its Uri-Path options; `accept` the value
    /// of its Accept option.
    package init(from sender: Sender, method: UInt8, path: [String], accept: UInt16? = nil) {
        self =
            switch sender {
            case .device: Self.fromDevice(method: method, path: path)
            case .server: Self.fromServer(method: method, path: path, accept: accept)
            }
    }

    private static func fromDevice(method: UInt8, path: [String]) -> Self {
        switch (path, Method(rawValue: method)) {
        case (["bs"], .post): .request
        // The device falls back to POST /bs (T40).
        case (["bspack"], .get): .refused(code: RewriteRefusal.notImplemented)
        case (["bs"], _), (["bspack"], _): .refused(code: RewriteRefusal.methodNotAllowed)
        default: .other
        }
    }

    private static func fromServer(method: UInt8, path: [String], accept: UInt16?) -> Self {
        guard let method = Method(rawValue: method) else { return .refused(code: RewriteRefusal.methodNotAllowed) }
        if method == .post {
            // Create and Execute are not bootstrap operations.
            return path == ["bs"] ? .finish : .refused(code: RewriteRefusal.methodNotAllowed)
        }
        guard let path = try? LwM2MPath(segments: path) else { return .refused(code: RewriteRefusal.badRequest) }
        switch method {
        case .put:
            switch path.count {
            case 0: return .refused(code: RewriteRefusal.badRequest)
            case 1...3: return .write(path)
            default: return .refused(code: RewriteRefusal.methodNotAllowed)
            }
        case .delete: return path.count <= 2 ? .delete(path) : .refused(code: RewriteRefusal.badRequest)
        case .get: return Self.get(path, accept: accept)
        case .post, .fetch, .patch, .iPatch: return .refused(code: RewriteRefusal.methodNotAllowed)
        }
    }

    private static func get(_ path: LwM2MPath, accept: UInt16?) -> Self {
        // A list of links is all that the root can be read as, so there Accept may be missing (T35).
        if accept == ContentFormat.linkFormat.rawValue || accept == nil && path == .root {
            return path.count <= 1 ? .discover(path) : .refused(code: RewriteRefusal.badRequest)
        }
        // Object 0 is never readable: its values are keys.
        let isReadable = (path.objectID == 1 || path.objectID == 2) && path.count <= 2
        return isReadable ? .read(path) : .refused(code: RewriteRefusal.methodNotAllowed)
    }

    private enum Method: UInt8 {
        case get = 1
        case post, put, delete, fetch, patch, iPatch
    }
}
