from tests.support.template_scripts import home, study  # noqa: F401 (fixtures)
