/// The value of a resource with its type, which TLV leaves out and the other formats carry.
enum TypedValue: Equatable {
    case text(String)
    case integer(Int64)
    case boolean(Bool)
    case bytes([UInt8])

    /// As TLV has it, which is also how a device here keeps it.
    var raw: [UInt8] {
        switch self {
        case .text(let text): Array(text.utf8)
        case .integer(let number): TLV.integer(number)
        case .boolean(let value): [value ? 1 : 0]
        case .bytes(let bytes): bytes
        }
    }
}

/// A resource of an instance that is to be written.
struct Resource: Equatable {
    var identifier: UInt16
    var value: TypedValue
}

/// How a server writes instances.
enum WriteFormat: String, CaseIterable {
    case tlv
    case senMLJSON = "senml-json"
    case senMLCBOR = "senml-cbor"

    var contentFormat: UInt16 {
        switch self {
        case .tlv: ContentFormat.tlv
        case .senMLJSON: ContentFormat.senMLJSON
        case .senMLCBOR: ContentFormat.senMLCBOR
        }
    }

    /// One instance, to be written at `/object/instance`.
    func instance(_ object: UInt16, _ instance: UInt16, _ resources: [Resource]) -> [UInt8] {
        switch self {
        case .tlv: TLV.write(Self.records(resources))
        case .senMLJSON, .senMLCBOR:
            self.write(
                resources.map { SenML.Record(name: "/\(object)/\(instance)/\($0.identifier)", value: $0.value) })
        }
    }

    /// All instances, to be written at `/object`.
    func object(_ object: UInt16, _ instances: [(instance: UInt16, resources: [Resource])]) -> [UInt8] {
        switch self {
        case .tlv:
            TLV.write(
                instances.map {
                    TLV.Record(
                        kind: .objectInstance, identifier: $0.instance, value: TLV.write(Self.records($0.resources)))
                })
        case .senMLJSON, .senMLCBOR:
            self.write(
                instances.flatMap { entry in
                    entry.resources.map {
                        SenML.Record(name: "/\(object)/\(entry.instance)/\($0.identifier)", value: $0.value)
                    }
                })
        }
    }

    /// With as much of the names as they share in a base name.
    private func write(_ records: [SenML.Record]) -> [UInt8] {
        self == .senMLJSON ? SenML.write(records, sharesNames: true) : SenMLCBOR.write(records)
    }

    private static func records(_ resources: [Resource]) -> [TLV.Record] {
        resources.map { TLV.Record(kind: .resource, identifier: $0.identifier, value: $0.value.raw) }
    }
}
