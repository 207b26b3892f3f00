/// One value of a document that is to be written, with its path.
struct DocumentValue {
    enum Item {
        case scalar(Scalar)
        /// As the same format spelled it before.
        case literal([UInt8], ValueSpelling.Kind)

        var kind: ValueSpelling.Kind {
            switch self {
            case .scalar(let scalar): scalar.kind
            case .literal(_, let kind): kind
            }
        }
    }

    let path: LwM2MPath
    let item: Item

    /// All values in order. Throws when one has no form in the format, and when something occurs twice; `root` itself may be
    /// empty, nothing below it.
    static func all(
        of objects: [ObjectContent],
        in format: ContentFormat,
        at root: LwM2MPath
    ) throws(PayloadError) -> [DocumentValue] {
        var values: [DocumentValue] = []
        try Self.checkDistinct(objects, below: .root, \.id)
        for object in objects {
            let definition = ObjectDefinition.known(object.id)
            let objectPath = LwM2MPath(object.id)
            guard !object.instances.isEmpty || objectPath == root else { throw PayloadError(.noForm(objectPath)) }
            try Self.checkDistinct(object.instances, below: objectPath, \.id)
            for instance in object.instances {
                let instancePath = LwM2MPath(object.id, instance.id)
                guard !instance.resources.isEmpty || instancePath == root else {
                    throw PayloadError(.noForm(instancePath))
                }
                try Self.checkDistinct(instance.resources, below: instancePath, \.id)
                for resource in instance.resources {
                    let path = LwM2MPath(object.id, instance.id, resource.id)
                    let type = definition?.convertibleType(resource.id)
                    switch resource.value {
                    case .single(let bytes):
                        let item = try Self.item(bytes, resource.spelling, type, in: format, at: path)
                        values.append(DocumentValue(path: path, item: item))
                    case .multiple(let entries):
                        guard !entries.isEmpty else { throw PayloadError(.noForm(path)) }
                        try Self.checkDistinct(entries, below: path, \.id)
                        for entry in entries {
                            let path = LwM2MPath(object.id, instance.id, resource.id, entry.id)
                            let item = try Self.item(entry.bytes, entry.spelling, type, in: format, at: path)
                            values.append(DocumentValue(path: path, item: item))
                        }
                    }
                }
            }
        }
        return values
    }

    private static func checkDistinct<T>(
        _ siblings: [T],
        below path: LwM2MPath,
        _ id: (T) -> UInt16
    ) throws(PayloadError) {
        // Ascending identifiers, which are the rule, need no set.
        if zip(siblings, siblings.dropFirst()).allSatisfy({ id($0) < id($1) }) { return }
        var seen: Set<UInt16> = []
        for sibling in siblings where !seen.insert(id(sibling)).inserted {
            throw PayloadError(.duplicatePath(path.appending(id(sibling)) ?? path))
        }
    }

    /// `type` is nil when the gateway does not know the resource.
    static func item(
        _ bytes: [UInt8],
        _ spelling: ValueSpelling?,
        _ type: ResourceType?,
        in format: ContentFormat,
        at path: LwM2MPath
    ) throws(PayloadError) -> Item {
        if let spelling {
            guard spelling.format == format else { throw PayloadError(.unknownType(path)) }
            return .literal(bytes, spelling.kind)
        }
        guard let type else { throw PayloadError(.unknownType(path)) }
        guard let scalar = Scalar(bytes, as: type) else { throw PayloadError(.wrongType(path, expected: type)) }
        return .scalar(scalar)
    }
}
