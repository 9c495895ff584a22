"""An index behind the interfaces of other libraries, which are imported when one is made."""
