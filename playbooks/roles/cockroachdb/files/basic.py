"""The one name of ansible.module_utils.basic that the modules import; nobody makes one here."""


class AnsibleModule:
    """Only its name is needed: what the modules do for Ansible is not called."""
