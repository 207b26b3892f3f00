/// What the gateway knows of an object's resources: enough to refuse a value that two readers could take differently.
///
/// Resources that are not listed are unknown, and kept as they are. Sources: the registry's objects 0 (1.2), 1 (1.2), 2 and
/// 21 (2.0); spec 2.1 to 2.3.
package struct ObjectDefinition: Sendable {
    package struct ResourceDefinition: Sendable {
        package let type: ResourceType
        package let isMultiple: Bool
    }

    package let id: UInt16
    /// By resource id.
    private let resources: [ResourceDefinition?]

    private init(id: UInt16, _ resources: [(UInt16, ResourceType, isMultiple: Bool)]) {
        self.id = id
        var table = [ResourceDefinition?](repeating: nil, count: Int(resources.map(\.0).max() ?? 0) + 1)
        for (id, type, isMultiple) in resources {
            table[Int(id)] = ResourceDefinition(type: type, isMultiple: isMultiple)
        }
        self.resources = table
    }

    package subscript(resource: UInt16) -> ResourceDefinition? {
        Int(resource) < self.resources.count ? self.resources[Int(resource)] : nil
    }

    /// The definition of an object that the gateway looks into; nil for all others.
    package static func known(_ objectID: UInt16) -> ObjectDefinition? {
        switch objectID {
        case 0: Self.security
        case 1: Self.server
        case 2: Self.accessControl
        case 21: Self.oscore
        default: nil
        }
    }

    /// LwM2M Security.
    package static let security = ObjectDefinition(
        id: 0,
        single(.string, 0, 9, 14, 30) + single(.boolean, 1) + single(.opaque, 3, 4, 5, 7, 8)
            + single(.integer, 2, 6, 10, 11, 12, 28, 29) + single(.unsigned, 13, 15, 22, 23, 24)
            + single(.objectLink, 17, 26) + multiple(.unsigned, 16, 18, 19, 20, 21) + multiple(.string, 25)
            + multiple(.objectLink, 27)
    )

    /// LwM2M Server.
    package static let server = ObjectDefinition(
        id: 1,
        single(.integer, 0, 1, 2, 3, 5, 26) + single(.boolean, 6, 15, 16, 21, 23) + single(.string, 7, 22)
            + single(.none, 4, 8, 9) + single(.objectLink, 10) + single(.time, 12)
            + single(.unsigned, 11, 13, 14, 17, 18, 19, 20, 27) + multiple(.objectLink, 24) + multiple(.string, 25)
    )

    /// LwM2M Access Control.
    package static let accessControl = ObjectDefinition(id: 2, single(.integer, 0, 1, 3) + multiple(.integer, 2))

    /// LwM2M OSCORE. Before version 2.0 the opaque ones were strings; opaque takes both.
    package static let oscore = ObjectDefinition(id: 21, single(.opaque, 0, 1, 2, 5, 6) + single(.integer, 3, 4))

    private static func single(_ type: ResourceType, _ ids: UInt16...) -> [(UInt16, ResourceType, isMultiple: Bool)] {
        ids.map { ($0, type, isMultiple: false) }
    }

    private static func multiple(_ type: ResourceType, _ ids: UInt16...) -> [(UInt16, ResourceType, isMultiple: Bool)] {
        ids.map { ($0, type, isMultiple: true) }
    }
}
