"""Operations: what was accepted, kept, worked, waited for and answered."""
