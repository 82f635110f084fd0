"""Where Keystone looks for its SQL drivers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "application_credential": "keystone.application_credential",
        "assignment": "keystone.assignment",
        "catalog": "keystone.catalog",
        "credential": "keystone.credential",
        "domain_config": "keystone.resource.domain_config",
        "endpoint_filter": "keystone.endpoint_filter",
        "endpoint_policy": "keystone.endpoint_policy",
        "federation": "keystone.federation",
        "identity": "keystone.identity",
        "identity_mapping": "keystone.identity.id_mapping",
        "oauth1": "keystone.oauth1",
        "policy": "keystone.policy",
        "resource": "keystone.resource",
        "revoke": "keystone.revoke",
        "role": "keystone.role",
        "shadow_users": "keystone.identity.shadow_users",
        "trust": "keystone.trust",
        "unified_limit": "keystone.unified_limit",
    }
)
"""Section of keystone.conf with an option ``driver`` -> namespace of entry points in which that driver is looked up.

Source: Keystone's setup.cfg, and ``driver_namespace`` of its managers.
"""
